package usage_test

import (
	"math"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// prices are those of a file with this text.
func prices(t testing.TB, file string) *usage.Prices {
	t.Helper()
	p, err := usage.New(usage.Config{File: written(t, file)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func written(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "prices.yml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func money(t testing.TB, text string) wire.Money {
	t.Helper()
	m, err := wire.ParseMoney(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const everything = `
m:
  input: $2/M
  output: $8/M
  cached: $0.50/M
  write: $2.5/M
  write_1h: $4/M
  audio_in: $40/M
  audio_out: $80/M
  image_in: $0.003/k
  reasoning: $9/M
  request: $0.01
  image: $0.04
  second: $0.0001
  character: $15/M
  max_output: 16k
  above:
    200k: {input: $4/M, output: $12/M}
    1M: {input: $6/M, output: $16/M, cached: $3/M}
  flex:
    input: $1/M
    output: $4/M
  priority:
    input: $4/M
    output: $16/M
    above: {200k: {input: $9/M}}
tokens: {input: $2/M, output: $8/M}
tiny: {input: $0.0001/M, output: $0.0001/M}
`

func TestCost(t *testing.T) {
	p := prices(t, everything)
	for _, c := range []struct {
		model, tier string
		usage       wire.Usage
		want        string
	}{
		{"m", "", wire.Usage{}, "$0.01"},
		{"m", "", wire.Usage{Prompt: 1000, Completion: 100}, "$0.0128"},
		{"m", "", wire.Usage{Prompt: 1000, CachedPrompt: 400, CacheWrite: 300, CacheWrite1h: 100}, "$0.0117"},                  // .01 + 300*2 + 400*.5 + 200*2.5 + 100*4 per M
		{"m", "", wire.Usage{Prompt: 1000, Audio: 150, AudioOut: 50, ImageIn: 10, Completion: 100, Reasoning: 30}, "$0.02024"}, // 890*2+100*40+10*3 + 50*80+30*9+20*8
		{"m", "", wire.Usage{Images: 2, Millis: 90_500, Characters: 2000}, "$0.12905"},                                         // .01 + .08 + .00905 + .03
		{"m", "", wire.Usage{Prompt: 200_000}, "$0.41"},
		{"m", "", wire.Usage{Prompt: 200_001, Completion: 10}, "$0.810124"},
		{"m", "", wire.Usage{Prompt: 300_000, CachedPrompt: 100_000}, "$0.91"}, // cached goes up with the input
		{"m", "", wire.Usage{Prompt: 1_000_001, CachedPrompt: 1_000_000}, "$3.010006"},
		{"m", "flex", wire.Usage{Prompt: 1000, CachedPrompt: 500, Completion: 100, Reasoning: 50}, "$0.01105"}, // .01 + 500 + 500*.25 + 50*4 + 50*4.5 per M
		{"m", "flex", wire.Usage{Prompt: 300_000}, "$0.61"},                                                    // half of what long prompts cost
		{"m", "priority", wire.Usage{Prompt: 300_000, Completion: 100}, "$2.7116"},
		{"m", "default", wire.Usage{Prompt: 1000}, "$0.012"},
		{"tokens", "flex", wire.Usage{Prompt: 1000}, "$0.002"},
		{"tokens", "", wire.Usage{Prompt: 1000, CachedPrompt: 400, CacheWrite: 100, CacheWrite1h: 100, Audio: 100, ImageIn: 100}, "$0.002"},
		{"tokens", "", wire.Usage{Completion: 1000, Reasoning: 400, Audio: 100, AudioOut: 100}, "$0.008"},
		{"tokens", "", wire.Usage{Prompt: 10, CachedPrompt: 1000, CacheWrite: 1000, Audio: 1000}, "$0.00002"}, // parts larger than the whole
		{"tokens", "", wire.Usage{Prompt: -10, CachedPrompt: -1000, Completion: -5}, "$0"},
		{"tiny", "", wire.Usage{Prompt: 1}, "$0.000000001"},   // rounded up
		{"tiny", "", wire.Usage{Prompt: 10_000}, "$0.000001"}, // and only once
		{"tiny", "", wire.Usage{Prompt: 10_001}, "$0.000001001"},
	} {
		price, known := p.Find(usage.Place{Provider: "x", Kind: "openai"}, c.model)
		if got := price.Tier(c.tier).Cost(c.usage); !known || got != money(t, c.want) {
			t.Errorf("%s %s %+v: %s, want %s", c.model, c.tier, c.usage, got, c.want)
		}
	}
	var none *usage.Price
	if none.Cost(wire.Usage{Prompt: 1}) != 0 || none.OutputRate(1) != 0 || none.Longest() != 0 || none.Tier("flex") != nil {
		t.Error("no price costs or answers something")
	}
}

func TestOutputRate(t *testing.T) {
	p := prices(t, everything)
	for _, c := range []struct {
		model  string
		prompt int64
		want   string
	}{
		{"tokens", 0, "$8"}, {"tokens", 1 << 50, "$8"},
		{"m", 0, "$80"}, {"m", 200_000, "$80"}, {"m", 200_001, "$120"}, {"m", 2_000_000, "$160"},
	} {
		price, _ := p.Find(usage.Place{Provider: "x", Kind: "openai"}, c.model)
		if got := wire.Money(price.OutputRate(c.prompt)); got != money(t, c.want) {
			t.Errorf("%s after %d: %s, want %s", c.model, c.prompt, got, c.want)
		}
	}
}

func TestLongest(t *testing.T) {
	p := prices(t, everything)
	for _, c := range []struct {
		kind, model, tier string
		want              int64
	}{
		{"openai", "m", "", 16_000},
		{"openai", "m", "flex", 16_000},
		{"openai", "m", "priority", 16_000},
		{"openai", "tokens", "", 0},
		{"openai", "nobody-knows", "", 0},
		{"vllm", "gpt-4.1", "", 0}, // one's own server, whatever it calls its model
		{"openai", "gpt-4.1", "", 32_768},
		{"openai", "gpt-4.1-2025-04-14", "priority", 32_768},
		{"openai", "gpt-4o-2024-05-13", "", 4_096},
		{"openai", "gpt-4o", "flex", 16_384},
		{"openai", "text-embedding-3-small", "", 0},
		{"bedrock", "eu.anthropic.claude-opus-4-6-v1", "", 128_000}, // dearer, not longer
		{"bedrock", "us.anthropic.claude-opus-4-5-20251101-v1:0", "", 64_000},
	} {
		price, _ := p.Find(usage.Place{Provider: "x", Kind: c.kind}, c.model)
		if got := price.Tier(c.tier).Longest(); got != c.want {
			t.Errorf("%s (%s) %s: %d, want %d", c.model, c.kind, c.tier, got, c.want)
		}
	}
}

// Cost is never more or less than the exact sum rounded up, and never wraps, whatever a provider reports.
func FuzzCost(f *testing.F) {
	f.Add(int64(1), int64(2), int64(3), int64(4), int64(5), int64(6), int64(7), int64(8))
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64))
	f.Add(int64(math.MinInt64), int64(-1), int64(math.MinInt64), int64(0), int64(-5), int64(math.MinInt64), int64(math.MinInt64), int64(math.MinInt64))
	f.Add(int64(1<<40), int64(1<<40), int64(1<<39), int64(10), int64(0), int64(0), int64(1), int64(9))
	plain, dear := prices(f, "m: {input: $2/M, output: $8/M}"), prices(f, "m: {input: $1000000000/M, output: $1000000000/M, image: $1000}")
	f.Fuzz(func(t *testing.T, prompt, completion, cached, write, audio, reasoning, images, audioOut int64) {
		u := wire.Usage{Prompt: prompt, Completion: completion, CachedPrompt: cached, CacheWrite: write, Audio: audio, Reasoning: reasoning, Images: images, AudioOut: audioOut}
		for p, rates := range map[*usage.Prices][2]int64{plain: {2e9, 8e9}, dear: {1e18, 1e18}} {
			price, _ := p.Find(usage.Place{Provider: "x", Kind: "openai"}, "m")
			want := new(big.Int).Mul(big.NewInt(max(prompt, 0)), big.NewInt(rates[0]))
			want.Add(want, new(big.Int).Mul(big.NewInt(max(completion, 0)), big.NewInt(rates[1])))
			if p == dear {
				want.Add(want, new(big.Int).Mul(big.NewInt(max(images, 0)), big.NewInt(1e18)))
			}
			want.Add(want, big.NewInt(999_999)).Quo(want, big.NewInt(1_000_000))
			if most := big.NewInt(math.MaxInt64); want.Cmp(most) > 0 {
				want = most
			}
			if got := price.Cost(u); int64(got) != want.Int64() {
				t.Errorf("%+v: %d, want %d", u, got, want)
			}
		}
	})
}

func TestFind(t *testing.T) {
	p := prices(t, `
gpt-4o: {input: $1/M, output: $1/M}
east/gpt-4o: {input: $2/M, output: $2/M}
"east/*": {input: $3/M, output: $3/M}
"llama-*": {input: $4/M, output: $4/M}
"llama-3-*": {input: $5/M, output: $5/M}
"*-instruct": {input: $6/M, output: $6/M}
meta-llama/Llama-3.1-8B: {input: $7/M}
own/gpt-4o-mini: free
`)
	const unknown = "unknown"
	for _, c := range []struct{ provider, kind, model, want string }{
		{"east", "openai", "gpt-4o", "$2"},
		{"west", "openai", "gpt-4o", "$1"},
		{"east", "openai", "gpt-4o-mini", "$3"},
		{"west", "openai", "gpt-4o-mini", "$0.15"},
		{"own", "openai", "gpt-4o-mini", "$0"},
		{"x", "openai", "llama-2-7b", "$4"},
		{"x", "openai", "llama-3-8b", "$5"},
		{"x", "openai", "llama-3-8b-instruct", "$6"}, // says more of the name than llama-3-*
		{"gpu", "vllm", "meta-llama/Llama-3.1-8B", "$7"},
		{"gpu", "vllm", "gpt-4o", "$1"}, // the file is about all providers
		{"gpu", "vllm", "qwen", "$0"},
		{"gpu", "vllm", "gpt-4.1", "$0"}, // one's own server, whatever it calls its model
		{"sim", "simulated", "gpt-4.1", "$0"},
		// dates
		{"x", "openai", "gpt-4o-2024-08-06", "$2.5"},
		{"x", "openai", "gpt-4o-2024-05-13", "$5"},
		{"x", "openai", "gpt-4.1-mini-2025-04-14", "$0.4"},
		{"x", "openai", "gpt-4.1-mini-2025-04-1x", unknown},
		{"x", "openai", "gpt-4.1-mini-20250414", "$0.4"},
		{"x", "openai", "gpt-4.1-miniature", unknown},
		{"x", "openai", "o1-latest", "$15"},
		{"x", "openai", "ft:gpt-4.1:acme::abc", unknown},
		{"x", "openai", "", unknown},
		{"x", "openai", "-2024-08-06", unknown},
		// Azure
		{"az", "azure", "gpt-4.1", "$2"},
		{"az", "azure", "prod-chat", unknown},
		// Anthropic
		{"a", "anthropic", "claude-sonnet-4-20250514", "$3"},
		{"a", "anthropic", "claude-3-7-sonnet-latest", "$3"},
		{"a", "anthropic", "claude-haiku-4-5", "$1"},
		// Bedrock
		{"b", "bedrock", "anthropic.claude-3-haiku-20240307-v1:0", "$0.25"},
		{"b", "bedrock", "us.anthropic.claude-sonnet-4-20250514-v1:0", "$3"},
		{"b", "bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "$3.3"},
		{"b", "bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "$3"},
		{"b", "bedrock", "eu.anthropic.claude-opus-4-6-v1", "$5.5"},
		{"b", "bedrock", "anthropic.claude-3-5-sonnet-20241022-v2:0", "$3"},
		{"b", "bedrock", "anthropic.claude-3-haiku-20240307-v1:0:200k", "$0.25"},
		{"b", "bedrock", "us.amazon.nova-pro-v1:0", "$0.8"},
		{"b", "bedrock", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-20250514-v1:0", "$3"},
		{"b", "bedrock", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0", "$1.1"},
		{"b", "bedrock", "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0", "$0.25"},
		{"b", "bedrock", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/claude-3-haiku", unknown},
		{"b", "bedrock", "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/claude-3-haiku", unknown},
		{"b", "bedrock", "arn:aws:bedrock", unknown},
		{"b", "bedrock", "arn:/", unknown},
		{"b", "bedrock", "us.", unknown},
		{"b", "bedrock", "meta.llama3-70b-instruct-v1:0", unknown},
	} {
		price, known := p.Find(usage.Place{Provider: c.provider, Kind: c.kind}, c.model)
		got := price.Cost(wire.Usage{Prompt: 1_000_000 - 800_001}).String()
		if want := c.want; want == unknown && known || want != unknown && (!known || price.Cost(wire.Usage{Prompt: 100_000}) != money(t, want)/10) {
			t.Errorf("%s (%s) %s: %s, %t, want %s", c.provider, c.kind, c.model, got, known, want)
		}
	}
}

// Where a region makes a price another.
func TestFindByRegion(t *testing.T) {
	p := prices(t, `
east/m: {input: $1/M}
east@eu/m: {input: $2/M}
"*@us/m": {input: $3/M}
"east@ap-*": {input: $4/M}
`)
	for _, c := range []struct{ provider, kind, region, model, want string }{
		{"east", "openai", "", "m", "$1"},
		{"east", "openai", "eu", "m", "$2"},
		{"east", "openai", "us", "m", "$1"}, // a name is more than a pattern
		{"west", "openai", "us", "m", "$3"},
		{"west", "vllm", "us", "m", "$3"},
		{"east", "openai", "ap-1", "x", "$4"},
		{"x", "openai", "", "gpt-5.4", "$2.5"},
		{"x", "openai", "eu", "gpt-5.4-2026-03-05", "$2.75"},
		{"x", "azure", "eu", "gpt-5.4", "$2.75"},
		{"x", "azure", "global", "gpt-5.4", "$2.5"},
		{"x", "openai", "eu", "gpt-4o", "$2.5"},
		{"x", "azure", "us", "gpt-4o", "$2.75"},
		{"x", "azure", "us", "gpt-4", "$30"},
		{"x", "bedrock", "eu-west-1", "global.anthropic.claude-opus-4-6-v1", "$5"},
		{"x", "bedrock", "eu-west-1", "eu.anthropic.claude-opus-4-6-v1", "$5.5"},
		{"x", "bedrock", "us-gov-west-1", "us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "$3.3"},
		{"x", "anthropic", "us", "claude-opus-4-6", "$5"},
	} {
		price, known := p.Find(usage.Place{Provider: c.provider, Kind: c.kind, Region: c.region}, c.model)
		if got := price.Cost(wire.Usage{Prompt: 100_000}); !known || got != money(t, c.want)/10 {
			t.Errorf("%s@%s (%s) %s: %s, %t, want a tenth of %s", c.provider, c.region, c.kind, c.model, got, known, c.want)
		}
	}
}

// An answer costs what the tier costs that it says it was served in, whatever tier's price it is reckoned by.
func TestCostOfTheServedTier(t *testing.T) {
	p := prices(t, everything+"plain: {input: $1/M}\nbatched: {input: $2/M, batch: {input: $1.5/M}}\n")
	for _, c := range []struct {
		model, asked string
		tier         wire.Tier
		want         string
	}{
		{"m", "", wire.TierUnsaid, "$2"}, {"m", "", wire.TierStandard, "$2"}, {"m", "", wire.TierFlex, "$1"}, {"m", "", wire.TierPriority, "$4"},
		{"m", "flex", wire.TierUnsaid, "$1"}, {"m", "flex", wire.TierStandard, "$2"}, {"m", "flex", wire.TierFlex, "$1"}, {"m", "flex", wire.TierPriority, "$4"},
		{"m", "priority", wire.TierUnsaid, "$4"}, {"m", "priority", wire.TierStandard, "$2"}, {"m", "priority", wire.TierFlex, "$1"},
		{"batched", "", wire.TierBatch, "$1.5"}, {"batched", "batch", wire.TierStandard, "$2"}, {"batched", "flex", wire.TierBatch, "$1.5"}, {"m", "", wire.TierBatch, "$2"},
		{"m", "unheard of", wire.TierFlex, "$1"}, {"plain", "flex", wire.TierFlex, "$1"}, {"plain", "", wire.TierPriority, "$1"},
	} {
		price, _ := p.Find(usage.Place{Provider: "x", Kind: "openai"}, c.model)
		price = price.Tier(c.asked)
		got := price.Cost(wire.Usage{Prompt: 100_000, Tier: c.tier}) - price.Cost(wire.Usage{Tier: c.tier})
		if got != money(t, c.want)/10 {
			t.Errorf("%s asked for in %q, served in %d: %s, want a tenth of %s", c.model, c.asked, c.tier, got, c.want)
		}
	}
	var none *usage.Price
	if none.Cost(wire.Usage{Prompt: 1, Tier: wire.TierFlex}) != 0 {
		t.Error("no price costs something")
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	p := prices(t, "gpt-x: {input: $1/M}\n\"east/*\": {input: $3/M}\n")
	for _, model := range []string{"gpt-4o", "gpt-4o-2024-08-06", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0", "nobody-knows"} {
		var price *usage.Price
		if n := testing.AllocsPerRun(100, func() {
			price, _ = p.Find(usage.Place{Provider: "west", Kind: "openai", Region: "eu"}, model)
			price.Cost(wire.Usage{Prompt: 3, Completion: 4})
		}); n > 0 {
			t.Errorf("%s: %v allocations", model, n)
		}
	}
}

func TestUnknown(t *testing.T) {
	for text, want := range map[string]struct {
		known, refused, refusedLimited bool
		cost                           string
	}{
		`{}`:              {false, false, true, "$0"},
		`unknown: reject`: {false, true, true, "$0"},
		`unknown: free`:   {true, false, false, "$0"},
		`unknown: {assume: {input: $5/M, output: $15/M}}`: {true, false, false, "$0.02"},
	} {
		var cfg usage.Config
		if err := yaml.Unmarshal([]byte(text), &cfg); err != nil {
			t.Fatal(err)
		}
		p, err := usage.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		price, known := p.Find(usage.Place{Provider: "x", Kind: "openai"}, "nobody-knows")
		if got := price.Cost(wire.Usage{Prompt: 1000, Completion: 1000}); known != want.known || got != money(t, want.cost) {
			t.Errorf("%s: %s, %t", text, got, known)
		}
		if !known && (p.Refuses(false) != want.refused || p.Refuses(true) != want.refusedLimited) {
			t.Errorf("%s: %t, limited %t", text, p.Refuses(false), p.Refuses(true))
		}
		again, err := yaml.Marshal(cfg)
		if err != nil || strings.Join(strings.Fields(string(again)), " ") != strings.NewReplacer("{}", "{}", "{assume: {input: $5/M, output: $15/M}}", "assume: input: $5/M output: $15/M").Replace(text) {
			t.Errorf("%s is written as %s (%v)", text, again, err)
		}
	}
	if e := usage.Unpriced("m"); e.Status != 400 || e.Code != "price_unknown" || !e.Failover || !strings.Contains(e.Message, "`m`") {
		t.Errorf("%+v", e)
	}
}

func TestBadConfig(t *testing.T) {
	for text, want := range map[string]string{
		`unknown: maybe`:                    "unknown choice \"maybe\" (choices: reject, free, {assume: {input: $5/M, output: $15/M}})",
		`unknown: [reject]`:                 "expected reject, free or {assume: {input: $5/M, output: $15/M}}",
		`unknown: {assume: {input: $5}}`:    "assume: input: \"$5\" is no price of tokens (expected one like $2.50/M or $0.0025/k)",
		`unknown: {assume: {output: $5/M}}`: "assume: input: must be set (expected a price such as {input: $2.50/M, output: $10/M}, or free)",
		`unknown: {assume: {}, x: 1}`:       "expected reject, free or {assume: {input: $5/M, output: $15/M}}",
	} {
		var cfg usage.Config
		if err := yaml.Unmarshal([]byte(text), &cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestBadFile(t *testing.T) {
	for text, want := range map[string]string{
		"- a":                                 "expected models with their prices, such as gpt-4o: {input: $2.50/M, output: $10/M}",
		"a: 5":                                "line 1: a: expected a price such as {input: $2.50/M, output: $10/M}, or free",
		"a: [1":                               "line 1: did not find expected ',' or ']'",
		"a: free\n---\nb: free":               "more than one document",
		"a: free\na: free":                    "line 2: a: the name stands twice",
		"a*: free\n\"a*\": free":              "line 2: a*: the name stands twice",
		"\"a*b*\": free":                      "line 1: a*b*: more than one * in the name",
		"\"\": free":                          "line 1: : empty name",
		"a: {}":                               "line 1: a: input: must be set (expected a price such as {input: $2.50/M, output: $10/M}, or free)",
		"a: {output: $1/M}":                   "line 1: a: input: must be set (expected a price such as {input: $2.50/M, output: $10/M}, or free)",
		"a: {input: 1, input: 2}":             "line 1: a: input: \"1\" is no price of tokens (expected one like $2.50/M or $0.0025/k)\nprices.file: FILE: line 1: a: input: stands twice",
		"a: {inptu: $1/M}":                    "line 1: a: inptu: unknown key (choices: input, output, cached, write, write_1h, audio_in, image_in, audio_out, reasoning, above, flex, priority, batch, request, image, second, character, max_output)",
		"a: {flex: {image: $1}}":              "line 1: a: flex: image: unknown key (choices: input, output, cached, write, write_1h, audio_in, image_in, audio_out, reasoning, above)",
		"a: {input: -$1/M}":                   "line 1: a: input: \"-$1/M\" is no price (expected dollars like $2.50/M, not finer than a nano-dollar per million)",
		"a: {input: $1/m}":                    "line 1: a: input: \"$1/m\" is no price of tokens (expected one like $2.50/M or $0.0025/k)",
		"a: {image: $1/}":                     "line 1: a: image: \"$1/\" is no price (expected one like $0.04, or $15/M for a million)",
		"a: {image: $1001}":                   "line 1: a: image: \"$1001\" is too much (a thousand dollars for each at most)",
		"a: {image: $1G}":                     "line 1: a: image: \"$1G\" is no price (expected dollars like $2.50/M, not finer than a nano-dollar per million)",
		"a: {input: {x: 1}}":                  "line 1: a: input: expected a price such as $2.50/M",
		"a: {above: {x: {}}}":                 "line 1: a: above: x: \"x\" is no number of tokens (expected one like 200k)",
		"a: {above: {1k: 5}}":                 "line 1: a: above: 1k: expected prices such as {input: $4/M, output: $18/M}",
		"a: {above: 5}":                       "line 1: a: above: expected lengths with prices, such as 200k: {input: $4/M, output: $18/M}",
		"a: {above: {1k: {}, 1000: {}}}":      "line 1: a: above: 1000: stands twice",
		"a: {above: {1k: {above: {2k: {}}}}}": "line 1: a: above: 1k: above: cannot stand inside another",
		"a: {input: $1/M, max_output: 0}":     "line 1: a: max_output: \"0\" is no number of tokens (expected one like 200k)",
		"a: {input: $1/M, max_output: -1}":    "line 1: a: max_output: \"-1\" is no number of tokens (expected one like 200k)",
		"a: {input: $1/M, max_output: 1.5}":   "line 1: a: max_output: \"1.5\" is no number of tokens (expected one like 200k)",
		"a: {input: $1/M, max_output: $5}":    "line 1: a: max_output: \"$5\" is no number of tokens (expected one like 200k)",
		"a: {input: $1/M, max_output: 2G}":    "line 1: a: max_output: \"2G\" is too much (a thousand million tokens at most)",
		"a: {input: $1/M, max_output: [1]}":   "line 1: a: max_output: expected a number of tokens such as 16384",
		"a: {max_output: 1, max_output: 2}":   "line 1: a: max_output: stands twice",
		"a: {max_output: 1}":                  "line 1: a: input: must be set (expected a price such as {input: $2.50/M, output: $10/M}, or free)",
		"a: {flex: {max_output: 1}}":          "line 1: a: flex: max_output: unknown key (choices: input, output, cached, write, write_1h, audio_in, image_in, audio_out, reasoning, above)",
		"a: {flex: 5}":                        "line 1: a: flex: expected prices such as {input: $1.25/M, output: $5/M}",
	} {
		name := written(t, text)
		_, err := usage.New(usage.Config{File: name})
		if want = "prices.file: " + name + ": " + strings.ReplaceAll(want, "FILE", name); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if _, err := usage.New(usage.Config{File: "nowhere/prices.yml"}); err == nil || !strings.HasPrefix(err.Error(), "prices.file: ") {
		t.Errorf("%v", err)
	}
	if p := prices(t, ""); p == nil {
		t.Error("an empty file is none")
	}
	if price, _ := prices(t, "x: &x {input: $1/M}\ny: *x").Find(usage.Place{Provider: "", Kind: "openai"}, "y"); price.OutputRate(0) != 0 || price.Cost(wire.Usage{Prompt: 1}) == 0 {
		t.Error("an alias is not followed")
	}
}

func FuzzFile(f *testing.F) {
	f.Add(everything)
	f.Add("a: &a {above: {200k: *a}}")
	f.Fuzz(func(t *testing.T, text string) {
		name := written(t, text)
		p, err := usage.New(usage.Config{File: name})
		if err != nil {
			return
		}
		price, _ := p.Find(usage.Place{Provider: "x", Kind: "openai"}, "m")
		if price.Cost(wire.Usage{Prompt: 1 << 40, Completion: 1 << 40, CachedPrompt: 5, Reasoning: 7}) < 0 || price.OutputRate(1<<40) < 0 || price.Longest() < 0 {
			t.Error("a price or length below nothing")
		}
	})
}
