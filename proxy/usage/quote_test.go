package usage_test

import (
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"os"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// Where prices come from is told.
func TestQuoteSource(t *testing.T) {
	const file = `
m: {input: $1/M}
"east/*": free
rack/llama: &rack {gpu_hour: $2, input_per_hour: 1M, output_per_hour: 1M}
rack/qwen: *rack
`
	for _, c := range []struct{ unknown, provider, kind, region, model, want string }{
		{"", "x", "openai", "", "m", "prices.file, line 2: m"},
		{"", "east", "openai", "", "gpt-4o", "prices.file, line 3: east/*, free"},
		{"", "rack", "vllm", "", "llama", "prices.file, line 4: rack/llama, by the hour"},
		{"", "rack", "vllm", "", "qwen", "prices.file, line 5: rack/qwen, by the hour"},
		{"", "x", "vllm", "", "gpt-4o", "free: of kind vllm"},
		{"", "x", "openai", "", "gpt-4o", "built-in list of 2026-07-24"},
		{"", "x", "openai", "", "gpt-4o-2024-08-06", "built-in list of 2026-07-24, as gpt-4o"},
		{"", "x", "azure", "eu", "gpt-4o", "built-in list of 2026-07-24, dearer in a region"},
		{"", "x", "openai", "", "odd", "not known: refused where money is limited, else free"},
		{"reject", "x", "openai", "", "odd", "not known: refused"},
		{"free", "x", "openai", "", "odd", "not known: free by prices.unknown"},
		{"{assume: {input: $5/M}}", "x", "openai", "", "odd", "not known: assumed by prices.unknown"},
	} {
		q := pricesWith(t, file, c.unknown).Quote(usage.Place{Provider: c.provider, Kind: c.kind, Region: c.region}, c.model)
		if q.Source != c.want || q.Known == strings.Contains(c.want, "refused") || q.Known != (len(q.Sections) > 0) || q.Provider != c.provider || q.Region != c.region || q.Model != c.model {
			t.Errorf("%+v, want %s", q, c.want)
		}
	}
}

func pricesWith(t *testing.T, file, unknown string) *usage.Prices {
	t.Helper()
	var cfg usage.Config
	if unknown != "" {
		if err := yaml.Unmarshal([]byte("unknown: "+unknown), &cfg); err != nil {
			t.Fatal(err)
		}
	}
	if file != "" {
		cfg.File = written(t, file)
	}
	p, err := usage.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What is told of every model in the list is what is counted.
func TestQuoteIsWhatIsCounted(t *testing.T) {
	p := prices(t, everything)
	for _, model := range append(p.Listed(), "m", "tokens", "tiny") {
		for _, at := range []usage.Place{{Kind: "openai"}, {Kind: "azure", Region: "eu"}} {
			price, _ := p.Find(at, model)
			q := p.Quote(at, model)
			if q.MaxOutput != price.Longest() {
				t.Errorf("%s answers %d tokens, not %d", model, price.Longest(), q.MaxOutput)
			}
			for _, s := range q.Sections {
				u := wire.Usage{Prompt: s.Above + 900_000*min(s.Above, 1) + 100_000, CachedPrompt: 40_000, CacheWrite: 30_000, CacheWrite1h: 10_000, Audio: 14_000, AudioOut: 9_000, ImageIn: 3_000,
					Completion: 50_000, Reasoning: 20_000, Images: 3, Millis: 7_000, Characters: 11}
				if s.Above > 0 { // below the next length
					u.Prompt = s.Above + 1
				}
				want := new(big.Rat)
				for name, n := range map[string]int64{"input": u.Prompt - 78_000, "cached": 40_000, "write": 20_000, "write_1h": 10_000, "audio_in": 5_000, "image_in": 3_000,
					"output": 21_000, "reasoning": 20_000, "audio_out": 9_000, "request": 1, "image": 3, "second": 7, "character": 11} {
					if rate, ok := s.Rates[name]; ok {
						perMillion, _ := new(big.Rat).SetString(string(rate))
						want.Add(want, perMillion.Mul(perMillion, big.NewRat(n*1000, 1))) // nano-dollars
					}
				}
				rounded := new(big.Int).Add(want.Num(), new(big.Int).Sub(want.Denom(), big.NewInt(1)))
				rounded.Quo(rounded, want.Denom())
				if got := price.Tier(s.Tier).Cost(u); int64(got) != rounded.Int64() {
					t.Errorf("%s in %q, %s above %d: %d, quoted %s", model, at.Region, s.Tier, s.Above, got, rounded)
				}
			}
		}
	}
}

// No price changes while the version stays.
func TestVersion(t *testing.T) {
	list, err := os.ReadFile("prices.txt")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(list)
	plain := "2026-07-24." + hex.EncodeToString(sum[:4])
	if !strings.HasPrefix(string(list), "# What models cost, as of 2026-07-24\n") || !strings.Contains(string(list)[:400], "Sources: ") {
		t.Error("the list does not say of when it is and where from")
	}
	seen := map[string]bool{}
	for _, c := range []struct{ file, unknown, want string }{
		{"", "", plain}, {"", "free", plain + "~free"}, {"", "reject", plain},
		{"", "{assume: {input: $1/M}}", plain + "~"}, {"", "{assume: {input: $2/M}}", plain + "~"},
		{"m: free", "", plain + "+"}, {"m: {input: $1/M}", "", plain + "+"}, {"m: free", "{assume: {input: $1/M}}", plain + "+"},
	} {
		got, again := pricesWith(t, c.file, c.unknown).Version(), pricesWith(t, c.file, c.unknown).Version()
		if !strings.HasPrefix(got, c.want) || got != again || seen[got] && c.unknown != "reject" {
			t.Errorf("%s, %s: %s, then %s, want %s", c.file, c.unknown, got, again, c.want)
		}
		seen[got] = true
	}
}
