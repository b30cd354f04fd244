package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/proxy/wire"
)

// Rate is one limit over time: so much per second, minute, hour, day or month.
type Rate struct {
	Amount    int64  // requests, tokens or nano-dollars
	Per       string // s, m, h, d or month
	Models    []string
	Algorithm string
	Burst     int64 // of buckets, in the units of Amount
	OnExceed  OnExceed
	money     bool
}

// SpendRate is a Rate of money.
type SpendRate Rate

// Rates are limits on requests or tokens: 600/m, or a list, of which each may be {limit: 600/m, models: [...], ...}.
type Rates []Rate

// Spends are limits on money: $50/d, or a list.
type Spends []SpendRate

// Amount is a whole number that may end in k, M or G.
type Amount int64

// OnExceed is what happens to a request over a limit.
type OnExceed struct {
	Action string // reject, queue, downgrade; "" where nothing was said
	Model  string // to which downgrade goes
}

var periods = []string{"s", "m", "h", "d", "month"}

// parseRate reads 200k/m, or $50/d for money.
func parseRate(text string, money bool) (Rate, error) {
	amount, per, ok := strings.Cut(text, "/")
	r := Rate{Per: strings.TrimSpace(per), money: money}
	var err error
	if money {
		var m wire.Money
		m, err = wire.ParseMoney(amount)
		r.Amount = int64(m)
	} else {
		r.Amount, err = wire.ParseAmount(strings.TrimSpace(amount), 1)
	}
	switch {
	case err != nil && money || !ok && money:
		return r, fmt.Errorf("%q is no limit of money (expected one like $50/d or $1000/month)", text)
	case err != nil || !ok:
		return r, fmt.Errorf("%q is no limit over time (expected one like 600/m or 200k/d)", text)
	case !slices.Contains(periods, r.Per):
		return r, fmt.Errorf("%q: unknown period %q (choices: %s)", text, r.Per, strings.Join(periods, ", "))
	case r.Amount < 1:
		return r, fmt.Errorf("%q: a limit must be more than 0", text)
	}
	return r, nil
}

// amount is the Rate's as people write it.
func (r Rate) amount(n int64) string {
	if r.money {
		return wire.Money(n).String()
	}
	return strconv.FormatInt(n, 10)
}

// String is the rate as people write it.
func (r Rate) String() string { return r.amount(r.Amount) + "/" + r.Per }

// UnmarshalYAML reads 600/m or {limit: 600/m, models: [...], ...}.
func (r *Rate) UnmarshalYAML(n *yaml.Node) (err error) {
	*r, err = readRate(n, false)
	return err
}

// UnmarshalYAML reads $50/d or {limit: $50/d, models: [...], ...}.
func (r *SpendRate) UnmarshalYAML(n *yaml.Node) error {
	rate, err := readRate(n, true)
	*r = SpendRate(rate)
	return err
}

func readRate(n *yaml.Node, money bool) (Rate, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		return parseRate(n.Value, money)
	case yaml.MappingNode:
	default:
		return Rate{}, errors.New("expected a limit like 600/m, or a mapping {limit: 600/m, models: [...]}")
	}
	fields := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		fields[n.Content[i].Value] = n.Content[i+1]
	}
	limit := fields["limit"]
	if limit == nil || limit.Kind != yaml.ScalarNode {
		return Rate{}, errors.New("limit: must be set, like 600/m")
	}
	r, err := parseRate(limit.Value, money)
	if err != nil {
		return r, err
	}
	for name, value := range fields {
		if err := r.field(name, value); err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
	}
	return r, nil
}

// field reads one of a limit's finer settings.
func (r *Rate) field(name string, n *yaml.Node) (err error) {
	switch name {
	case "limit":
	case "models", "model":
		if n.Kind == yaml.ScalarNode {
			r.Models = []string{n.Value}
			return nil
		}
		return n.Decode(&r.Models)
	case "algorithm":
		r.Algorithm = n.Value
	case "burst":
		if r.money {
			var m wire.Money
			m, err = wire.ParseMoney(n.Value)
			r.Burst = int64(m)
		} else {
			r.Burst, err = wire.ParseAmount(n.Value, 1)
		}
		if err != nil || r.Burst < 1 {
			return fmt.Errorf("expected an amount, got %q", n.Value)
		}
	case "on_exceed":
		return r.OnExceed.UnmarshalYAML(n)
	default:
		return errors.New("unknown key (choices: limit, models, algorithm, burst, on_exceed)")
	}
	return nil
}

// MarshalYAML writes what UnmarshalYAML reads.
func (r Rate) MarshalYAML() (any, error) { return r.plain(), nil }

// MarshalYAML writes what UnmarshalYAML reads.
func (r SpendRate) MarshalYAML() (any, error) { return Rate(r).plain(), nil }

func (r Rate) plain() any {
	m := map[string]any{}
	if r.Models != nil {
		m["models"] = r.Models
	}
	if r.Algorithm != "" {
		m["algorithm"] = r.Algorithm
	}
	if r.Burst != 0 {
		m["burst"] = r.amount(r.Burst)
	}
	if r.OnExceed != (OnExceed{}) {
		m["on_exceed"] = r.OnExceed.plain()
	}
	if len(m) == 0 {
		return r.String()
	}
	m["limit"] = r.String()
	return m
}

// UnmarshalYAML reads reject, queue or {downgrade: MODEL}.
func (o *OnExceed) UnmarshalYAML(n *yaml.Node) error {
	switch {
	case n.Kind == yaml.ScalarNode && (n.Value == "reject" || n.Value == "queue"):
		*o = OnExceed{Action: n.Value}
		return nil
	case n.Kind == yaml.ScalarNode:
		if model, ok := strings.CutPrefix(n.Value, "downgrade:"); ok && strings.TrimSpace(model) != "" {
			*o = OnExceed{Action: "downgrade", Model: strings.TrimSpace(model)}
			return nil
		}
	case n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "downgrade" && n.Content[1].Value != "":
		*o = OnExceed{Action: "downgrade", Model: n.Content[1].Value}
		return nil
	}
	return errors.New("unknown choice (choices: reject, queue, {downgrade: MODEL})")
}

// MarshalYAML writes what UnmarshalYAML reads.
func (o OnExceed) MarshalYAML() (any, error) { return o.plain(), nil }

func (o OnExceed) plain() any {
	if o.Action == "downgrade" {
		return map[string]string{"downgrade": o.Model}
	}
	return o.Action
}

// UnmarshalText reads 10000, 10k or 1M.
func (a *Amount) UnmarshalText(text []byte) error {
	n, err := wire.ParseAmount(strings.TrimSpace(string(text)), 1)
	if err != nil || n < 1 {
		return fmt.Errorf("expected a whole number like 10000, 10k or 1M, got %q", text)
	}
	*a = Amount(n)
	return nil
}

// MarshalText writes the number.
func (a Amount) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(a), 10), nil }
