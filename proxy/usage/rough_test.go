package usage

import (
	"testing"

	"jarvis-gateway/proxy/wire"
)

// The rough cost is the exact one, but for the last nano-dollar.
func TestRough(t *testing.T) {
	prices, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, model := range []string{"gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-pro", "o3"} {
		price, known := prices.Find(Place{Provider: "p", Kind: "openai"}, model)
		if !known {
			t.Errorf("the price of %s is not known", model)
		}
		for _, prompt := range []int64{0, 1, 999, 150_000, 300_000, 5_000_000} {
			for _, part := range []int64{0, 2, 1} {
				u := wire.Usage{Prompt: prompt, Completion: 400}
				if part > 0 {
					u.CachedPrompt = prompt / part
				}
				exact, rough := int64(price.Cost(u)), price.Rough(prompt, u.CachedPrompt, 400)
				if rough > exact || exact-rough > 1 {
					t.Errorf("%s of %d, %d in the cache: about %d, exactly %d", model, prompt, u.CachedPrompt, rough, exact)
				}
			}
		}
	}
	if (*Price)(nil).Rough(5, 5, 5) != 0 {
		t.Error("what has no price costs")
	}
}
