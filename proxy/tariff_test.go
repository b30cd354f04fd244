package proxy

import (
	"testing"

	"jarvis-gateway/proxy/usage"
)

// A request is held at the price of the tier it asks for only where that is not a discount, which the answer must prove.
func TestDearest(t *testing.T) {
	text := "m: {input: $1/M, output: $4/M, flex: {output: $2/M}, priority: {output: $8/M}, batch: {output: $1/M}}\n" +
		"odd: {input: $1/M, output: $4/M, batch: {output: $5/M}}"
	prices, err := usage.New(usage.Config{File: "prices.yml", Text: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		model, tier string
		want        int64
	}{
		{"m", "", 4e9}, {"m", "auto", 4e9}, {"m", "default", 4e9}, {"m", "flex", 4e9}, {"m", "batch", 4e9}, {"m", "priority", 8e9}, {"odd", "batch", 5e9},
	} {
		price, known := prices.Find(usage.Place{Provider: "p", Kind: "openai"}, c.model)
		if got := (tariff{price: price, known: known}).dearest(c.tier).OutputRate(0); got != c.want {
			t.Errorf("%s asked for in %q is held at %d, want %d", c.model, c.tier, got, c.want)
		}
	}
}
