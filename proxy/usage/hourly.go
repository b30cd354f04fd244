package usage

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/proxy/wire"
)

// hourlyNames are the words for servers that cost by the hour, not by the token: what an hour of all that serves the model costs,
// and how many tokens it reads, and writes, in one when it does nothing else.
var hourlyNames = []string{"gpu_hour", "gpus", "input_per_hour", "output_per_hour"}

// rented tells a price by the hour.
func rented(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if slices.Contains(hourlyNames, n.Content[i].Value) {
			return true
		}
	}
	return false
}

// readHourly spreads the price of an hour over the tokens that it is good for. A token costs the same whether the servers are busy
// or idle: else nobody could say beforehand what a request will cost.
func readHourly(n *yaml.Node) (*Price, error) {
	var s sheet
	var hour wire.Money
	var errs []error
	gpus, tokens := int64(1), map[string]int64{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1].Value
		var err error
		switch key {
		case "gpu_hour":
			hour, err = wire.ParseMoney(value)
		case "gpus":
			gpus, err = parseLength(value)
		case "input_per_hour", "output_per_hour":
			tokens[key], err = parseThroughput(value)
		case "max_output":
			s.longest, err = parseLength(value)
		default:
			err = fmt.Errorf("unknown key (choices beside gpu_hour: %s, max_output)", strings.Join(hourlyNames[1:], ", "))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s.main = map[string]int64{}
	for name, key := range map[string]string{"input": "input_per_hour", "output": "output_per_hour"} {
		rate, err := spread(hour, gpus, tokens[key])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		s.main[name] = rate
	}
	return s.price(), nil
}

// spread is what a million tokens cost in nano-dollars, rounded up.
func spread(hour wire.Money, gpus, tokens int64) (int64, error) {
	if hour <= 0 || tokens <= 0 {
		return 0, errors.New("a price by the hour needs gpu_hour, input_per_hour and output_per_hour, such as {gpu_hour: $2.50, gpus: 8, input_per_hour: 90M, output_per_hour: 9M}")
	}
	over, total := bits.Mul64(uint64(hour), uint64(gpus))
	if over > 0 {
		return 0, errors.New("the hour costs too much")
	}
	hi, lo := bits.Mul64(total, million)
	if hi >= uint64(tokens) {
		return 0, errors.New("the tokens would cost more than a thousand dollars each")
	}
	rate, rest := bits.Div64(hi, lo, uint64(tokens))
	if rest > 0 {
		rate++
	}
	if rate > uint64(maxRate) {
		return 0, errors.New("the tokens would cost more than a thousand dollars each")
	}
	return int64(rate), nil //nolint:gosec // it is at most maxRate
}

func parseThroughput(text string) (int64, error) {
	n, err := wire.ParseAmount(text, 1)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is no number of tokens in an hour (expected one like 9M)", text)
	}
	return n, nil
}
