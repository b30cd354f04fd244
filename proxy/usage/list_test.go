package usage_test

import (
	"cmp"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// differs is where the built-in list says on purpose something else than the published data, and why.
var differs = map[string]string{
	"claude-3-haiku-20240307 cache_creation_input_token_cost_above_1hr": "the data has one figure for all old models; twice the input",
	"claude-3-opus-20240229 cache_creation_input_token_cost_above_1hr":  "the data has one figure for all old models; twice the input",

	"claude-sonnet-5 *": "a promotion until August 2026; since then what Sonnet costs",

	"deepseek-v4-flash cache_creation_input_token_cost":          "no price for writing means that of the input",
	"deepseek-v4-pro cache_creation_input_token_cost":            "no price for writing means that of the input",
	"gemini-robotics-er-1.5-preview cache_read_input_token_cost": "no price for reading means that of the input",
	"gpt-5-nano input_cost_per_token_priority":                   "dearer than gpt-5's: a slip",
	"gpt-4o-mini-tts output_cost_per_token":                      "all that it answers is sound",
	"gpt-4o-mini-tts-2025-03-20 output_cost_per_token":           "all that it answers is sound",
	"gpt-4o-mini-tts-2025-12-15 output_cost_per_token":           "all that it answers is sound",
	"gpt-image-1.5 output_cost_per_token":                        "all that it answers is taken for pictures",
	"gpt-image-1.5-2025-12-16 output_cost_per_token":             "all that it answers is taken for pictures",
	"gpt-image-2 output_cost_per_token":                          "all that it answers is taken for pictures",
	"gpt-image-2-2026-04-21 output_cost_per_token":               "all that it answers is taken for pictures",
	"gemini-2.5-flash-image output_cost_per_token":               "all that it answers is taken for pictures",
	"gemini-2.5-flash-image output_cost_per_reasoning_token":     "all that it answers is taken for pictures",
	"gemini-3-pro-image output_cost_per_token":                   "all that it answers is taken for pictures",
	"gemini-3-pro-image-preview output_cost_per_token":           "all that it answers is taken for pictures",
	"gemini-3-pro-image output_cost_per_token_batches":           "all that it answers is taken for pictures, at half their price",
	"gemini-3-pro-image-preview output_cost_per_token_batches":   "all that it answers is taken for pictures, at half their price",
	"gemini-3.1-flash-image output_cost_per_token":               "all that it answers is taken for pictures",
	"gemini-3.1-flash-image-preview output_cost_per_token":       "all that it answers is taken for pictures",

	"deepseek-v3-2-251201 *":                  "no price in the data, which is none of nothing",
	"gemini-2.0-flash-exp-image-generation *": "no price in the data, which is none of nothing",
	"gemini-flash-experimental *":             "no price in the data, which is none of nothing",
}

// Prices that are for what no endpoint of the gateway offers, or that the tokens have already.
func beside(provider any, field string) bool {
	if provider == "vertex_ai-language-models" && strings.HasPrefix(field, "cache_creation") {
		return true // by the hour
	}
	for _, part := range []string{"search_context", "audio_token_cost", "input_cost_per_token_cache_hit", "video", "audio_per_second", "per_image", "per_character", "output_cost_per_second",
		"audio_token_priority"} {
		if strings.Contains(field, part) && field != "input_cost_per_image_token" && field != "output_cost_per_image_token" {
			return true
		}
	}
	return false
}

// longer is where the built-in list says on purpose another length of answers than the published data, and why.
var longer = map[string]string{
	"deepseek-v4-flash":           "384k, DeepSeek says; the data has what models before it gave",
	"deepseek-v4-pro":             "384k, DeepSeek says; the data has what models before it gave",
	"gpt-3.5-turbo-instruct-0914": "one more than the same model has without its date",
	"gpt-4":                       "all that the prompt leaves of its 8192",
	"gpt-4-0314":                  "all that the prompt leaves of its 8192",
	"gpt-4-0613":                  "all that the prompt leaves of its 8192",
	"gpt-5-pro":                   "272k, OpenAI says; the data has what its siblings give",
	"gpt-5-pro-2025-10-06":        "272k, OpenAI says; the data has what its siblings give",

	"deepseek-v3-2-251201":                  "no price in the data, and so not in the list",
	"gemini-2.0-flash-exp-image-generation": "no price in the data, and so not in the list",
	"gemini-flash-experimental":             "no price in the data, and so not in the list",
}

// The built-in list has the published length of the longest answer of every model in the data, and none where the data has
// none.
func TestListAgainstPublishedLengths(t *testing.T) {
	data := published(t)
	p, err := usage.New(usage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for model, fields := range data {
		var want int64 // max_tokens says the same, or of embeddings how long the input may be
		if number, ok := fields["max_output_tokens"].(json.Number); ok {
			if want, err = number.Int64(); err != nil {
				t.Fatal(err)
			}
		}
		price, _ := p.Find(usage.Place{Provider: "x", Kind: "openai"}, model)
		if _, differ := longer[model]; (price.Longest() == want) == differ {
			t.Errorf("%s: %d tokens, in the data %d; a difference that is listed %t", model, price.Longest(), want, differ)
		}
	}
	for model, why := range longer {
		if data[model] == nil || why == "" {
			t.Errorf("%s: %q is no difference", model, why)
		}
	}
	if len(data) < 200 {
		t.Errorf("only %d lengths compared", len(data))
	}
}

// published is the published data by model. Without it the test is skipped.
func published(t *testing.T) map[string]map[string]any {
	t.Helper()
	shared := cmp.Or(os.Getenv("JARVIS_SHARED"), filepath.Join("..", "..", "..", "shared"))
	text, err := os.ReadFile(filepath.Join(shared, "data", "prices-litellm", "model_prices_and_context_window.json"))
	if err != nil {
		t.Skipf("no published prices: %v (JARVIS_SHARED names the folder that holds data/)", err)
	}
	var data map[string]map[string]any
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.UseNumber()
	if err := dec.Decode(&data); err != nil {
		t.Fatal(err)
	}
	return data
}

// The built-in list has the published prices of every model in the data, by every name in it.
func TestListAgainstPublishedPrices(t *testing.T) {
	data := published(t)
	p, err := usage.New(usage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	compared, used := 0, map[string]bool{}
	for model, fields := range data {
		price, known := p.Find(usage.Place{Provider: "x", Kind: "openai"}, model)
		for field, value := range fields {
			number, ok := value.(json.Number)
			if !ok || !strings.Contains(field, "cost") || beside(fields["litellm_provider"], field) {
				continue
			}
			key := model + " " + field
			if _, ok := differs[model+" *"]; ok {
				used[model+" *"] = true
				continue
			}
			u, tier := probe(t, field)
			want, _ := new(big.Rat).SetString(number.String())
			got := perToken(price.Tier(tier), u)
			_, differ := differs[key]
			if same := known && near(got, want); same == differ {
				t.Errorf("%s: %s a token, in the data %s; known %t, a difference that is listed %t", key, got.FloatString(12), want.FloatString(12), known, differ)
			}
			used[key] = true
			compared++
		}
	}
	for key, why := range differs {
		if !used[key] || why == "" {
			t.Errorf("%s: %q is no difference", key, why)
		}
	}
	if compared < 1000 {
		t.Errorf("only %d prices compared", compared)
	}
}

// The built-in list is dearer in a region where the data says so, and nowhere else, but for what Azure makes dearer.
func TestListAgainstPublishedRegions(t *testing.T) {
	data := published(t)
	p, err := usage.New(usage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	u, dearer := wire.Usage{Prompt: 100_000, Completion: 100_000}, 0
	for model, fields := range data {
		plain, known := p.Find(usage.Place{Kind: "openai"}, model)
		for _, region := range []string{"eu", "us"} {
			want := new(big.Rat).SetInt64(int64(plain.Cost(u)))
			if number, ok := fields["regional_processing_uplift_multiplier_"+region].(json.Number); ok && known {
				factor, _ := new(big.Rat).SetString(number.String())
				want.Mul(want, factor)
				dearer++
			}
			there, _ := p.Find(usage.Place{Kind: "openai", Region: region}, model)
			if got := new(big.Rat).SetInt64(int64(there.Cost(u))); fields["litellm_provider"] == "openai" && got.Cmp(want) != 0 {
				t.Errorf("%s in %s: %s, want %s", model, region, there.Cost(u), want.FloatString(0))
			}
			if azure, _ := p.Find(usage.Place{Kind: "azure", Region: region}, model); azure.Cost(u) < there.Cost(u) {
				t.Errorf("%s in %s is cheaper on Azure", model, region)
			}
		}
	}
	if dearer < 30 {
		t.Errorf("only %d prices compared", dearer)
	}
}

// probe is a usage that has one token of what a field of the data is about, on top of what it takes to get there, and the
// tier that the field is about.
func probe(t *testing.T, field string) (u [2]wire.Usage, tier string) {
	name := field
	for suffix, word := range map[string]string{"_flex": "flex", "_priority": "priority", "_batches": "batch"} {
		if cut, ok := strings.CutSuffix(name, suffix); ok {
			name, tier = cut, word
		}
	}
	long := int64(0)
	for text, n := range map[string]int64{"_above_200k_tokens": 200_000, "_above_272k_tokens": 272_000} {
		if cut, ok := strings.CutSuffix(name, text); ok {
			name, long = cut, n+1
		}
	}
	without := wire.Usage{Prompt: long + 10_000_000*min(long, 1)}
	const n = 100_000 // below any length that has a price of its own
	with := without
	add := func(at *int64) { *at += n }
	switch name {
	case "input_cost_per_token":
		add(&with.Prompt)
	case "output_cost_per_token", "output_cost_per_image_token":
		add(&with.Completion)
	case "output_cost_per_reasoning_token":
		add(&with.Completion)
		add(&with.Reasoning)
	case "output_cost_per_audio_token":
		add(&with.Completion)
		add(&with.Audio)
		add(&with.AudioOut)
	case "input_cost_per_audio_token":
		add(&with.Prompt)
		add(&with.Audio)
	case "input_cost_per_image_token":
		add(&with.Prompt)
		add(&with.ImageIn)
	case "cache_read_input_token_cost":
		add(&with.Prompt)
		add(&with.CachedPrompt)
	case "cache_creation_input_token_cost":
		add(&with.Prompt)
		add(&with.CacheWrite)
	case "cache_creation_input_token_cost_above_1hr":
		add(&with.Prompt)
		add(&with.CacheWrite)
		add(&with.CacheWrite1h)
	case "input_cost_per_second":
		with.Millis = n * 1000
	default:
		t.Fatalf("what is %s?", field)
	}
	return [2]wire.Usage{without, with}, tier
}

func perToken(p *usage.Price, u [2]wire.Usage) *big.Rat {
	return big.NewRat(int64(p.Cost(u[1])-p.Cost(u[0])), 100_000*int64(wire.Dollar))
}

// near allows for what the data, in binary floating point, does not say exactly.
func near(a, b *big.Rat) bool {
	diff := new(big.Rat).Sub(a, b)
	return diff.Abs(diff).Cmp(big.NewRat(1, 1_000_000_000_000)) <= 0
}
