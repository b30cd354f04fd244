package usage_test

import (
	"strings"
	"testing"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// Eight GPUs at $2.50 an hour that write 10 million tokens in one: $2 a million.
func TestPriceByTheHour(t *testing.T) {
	p, err := usage.New(usage.Config{File: "prices.yml", Text: []byte(
		"gpu/*: {gpu_hour: $2.50, gpus: 8, input_per_hour: 80M, output_per_hour: 10M, max_output: 8k}\nodd: {gpu_hour: $1, input_per_hour: 3, output_per_hour: 3}\n")})
	if err != nil {
		t.Fatal(err)
	}
	price, known := p.Find(usage.Place{Provider: "gpu", Kind: "vllm"}, "llama")
	if got := price.Cost(wire.Usage{Prompt: 1_000_000, Completion: 100_000}); !known || got != 450_000_000 || price.Longest() != 8000 {
		t.Errorf("%d nano-dollars, not 0.25 + 0.2 dollars; longest %d", got, price.Longest())
	}
	price, _ = p.Find(usage.Place{Provider: "x", Kind: "openai"}, "odd")
	if got := price.Cost(wire.Usage{Completion: 3}); got != wire.Dollar+1 { // rounded up, the rate and the sum
		t.Errorf("an hour's tokens cost %d", got)
	}
}

func TestPriceByTheHourErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a: {gpu_hour: $1}": "needs gpu_hour, input_per_hour and output_per_hour",
		"a: {gpu_hour: $1, input_per_hour: 0, output_per_hour: 1}":                     "no number of tokens in an hour",
		"a: {gpu_hour: 1 euro, input_per_hour: 1M, output_per_hour: 1M}":               "gpu_hour: \"1 euro\" is no amount of money",
		"a: {gpu_hour: $1, input: $1/M, input_per_hour: 1M, output_per_hour: 1M}":      "input: unknown key",
		"a: {gpu_hour: $9000000, gpus: 100000, input_per_hour: 1, output_per_hour: 1}": "too much",
		"a: {gpu_hour: $9000000, gpus: 900, input_per_hour: 1, output_per_hour: 1}":    "more than a thousand dollars each",
	} {
		if _, err := usage.New(usage.Config{File: "prices.yml", Text: []byte(text)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
