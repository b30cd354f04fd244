package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/policy"
)

// printAdmission prints what limits and guards have to do with a request. Who has neither is told nothing.
func printAdmission(out io.Writer, e gjson.Result) error {
	admission := e.Get("admission")
	if limits := admission.Get("limits").Array(); len(limits) > 0 || admission.Get("verdict").String() != policy.Admitted {
		fmt.Fprintf(out, "\nLimits: %s\n", oneLine(verdict(admission)))
		var rows [][]string
		for _, l := range limits {
			unit := l.Get("unit").String()
			rows = append(rows, []string{l.Get("scope").String(), l.Get("limit").String(), amountOf(unit, l.Get("needs").Int()), amountOf(unit, l.Get("free").Int()), amountOf(unit, l.Get("used").Int()),
				amountOf(unit, l.Get("held").Int()), waiting(l.Get("reset_ms").Int()), map[bool]string{true: "short"}[l.Get("short").Bool()]})
		}
		if err := table(out, "SCOPE LIMIT NEEDS FREE USED HELD RESET STATE", rows); err != nil {
			return err
		}
	}
	guards := e.Get("guards").Array()
	if len(guards) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nGuards of requests:")
	var rows [][]string
	for _, g := range guards {
		does := g.Get("does").String()
		if does == "asks" {
			does = "asks its server, not now"
		}
		rows = append(rows, []string{g.Get("at").String(), g.Get("guard").String(), g.Get("kind").String(), does, g.Get("what").String()})
	}
	return table(out, "AT GUARD KIND DOES WHAT", rows)
}

// stopped tells that a limit or a guard refuses the request.
func stopped(e gjson.Result) bool {
	return e.Get("admission.verdict").String() == policy.Refused || e.Get(`guards.#(does=="refuses")`).Exists()
}

// verdict words whether a request is let in.
func verdict(a gjson.Result) (text string) {
	by, retry := a.Get("by").String(), waiting(a.Get("retry_after_ms").Int())
	switch a.Get("verdict").String() {
	case policy.Admitted:
		text = "it would be let in"
	case policy.Waits:
		text = fmt.Sprintf("it would wait in line for %s, %s at most", by, waiting(a.Get("waits_ms").Int()))
	default:
		text = fmt.Sprintf("it would be refused, %d %s: %s", a.Get("status").Int(), a.Get("code").String(), a.Get("why").String())
	}
	if retry != "" && by != "" {
		text += fmt.Sprintf(" (%s has room in %s)", by, retry)
	} else if by != "" && a.Get("verdict").String() == policy.Refused {
		text += " (" + by + ")"
	}
	if n := a.Get("max_tokens").Int(); n > 0 {
		text += fmt.Sprintf("; its answer would be bounded to %d tokens", n)
	}
	return text
}

// amountOf is an amount as people write it.
func amountOf(unit string, n int64) string {
	if unit == "spend" {
		return nanoDollars(max(n, 0))
	}
	return strconv.FormatInt(n, 10)
}

// waiting is a time in milliseconds, nothing for none.
func waiting(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d <= 0:
		return ""
	case d > time.Minute:
		d = d.Round(time.Second)
	}
	return d.String()
}
