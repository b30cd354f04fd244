package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"
)

func rolloutCommand() *cobra.Command {
	return clientCommand("rollout", "Compare a model with the one that is being tried, and change its share", func(k *client) []*cobra.Command {
		return []*cobra.Command{k.listRollouts(), k.setRollout(), k.haltRollout()}
	})
}

const rolloutHolds = "It holds for every gateway that has the same state store, also after a restart, until the rollout is another one in the\n" +
	"configuration. Steps that it would go by itself do not count any more."

func (k *client) listRollouts() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the rollouts, and how both models do at the gateway that answers", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			rows, err := k.all(c.Context(), "/rollouts", url.Values{})
			if err != nil || k.json {
				return firstError(err, func() error { return printRows(c.OutOrStdout(), rows) })
			}
			return printRollouts(c, rows)
		},
	}
}

func (k *client) setRollout() *cobra.Command {
	return &cobra.Command{
		Use: "set MODEL PERCENT", Short: "Set the share of requests that the other model gets", Args: cobra.ExactArgs(2),
		Long: "Set the share of requests that the other model gets, also of a rollout that was called off.\n\n" + rolloutHolds,
		RunE: func(c *cobra.Command, args []string) error {
			percent, err := strconv.ParseFloat(args[1], 64)
			if err != nil || !(percent >= 0 && percent <= 100) {
				return fmt.Errorf("%q is no share (expected a number from 0 to 100)", clip(args[1]))
			}
			return k.changeRollout(c, map[string]any{"model": args[0], "percent": percent})
		},
	}
}

func (k *client) haltRollout() *cobra.Command {
	reason := ""
	c := &cobra.Command{
		Use: "halt MODEL", Short: "Call a rollout off: the other model gets nothing", Args: cobra.ExactArgs(1),
		Long: "Call a rollout off: the other model gets nothing.\n\n" + rolloutHolds,
		RunE: func(c *cobra.Command, args []string) error {
			body := map[string]any{"model": args[0], "halt": true}
			if reason != "" {
				body["reason"] = reason
			}
			return k.changeRollout(c, body)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for those who look at it later (default: who did it)")
	return c
}

func (k *client) changeRollout(c *cobra.Command, body map[string]any) error {
	answer, err := k.call(c.Context(), http.MethodPost, "/rollouts/set", body)
	if err != nil || k.json {
		return firstError(err, func() error { return printJSON(c.OutOrStdout(), answer) })
	}
	return printRollouts(c, []gjson.Result{answer})
}

func printRollouts(c *cobra.Command, rows []gjson.Result) error {
	var lines [][]string
	for _, r := range rows {
		for i, a := range r.Get("arms").Array() {
			lines = append(lines, []string{r.Get("model").String(), a.Get("model").String(), armShare(r, i), a.Get("calls").String(), failedOf(a), money(a.Get("cost_usd")),
				money(a.Get("cost_per_call_usd")), a.Get("tokens").String(), milliseconds(a.Get("first_token_p50_ms")), milliseconds(a.Get("first_token_p95_ms")), scoreOf(a), rolloutStanding(r, i)})
		}
	}
	return table(c.OutOrStdout(), "MODEL SERVED_BY SHARE CALLS FAILED COST PER_CALL TOKENS P50 P95 SCORE STATE", lines)
}

// armShare is how much of the requests one of the two models gets.
func armShare(r gjson.Result, arm int) string {
	percent := r.Get("percent").Float()
	switch {
	case arm == 1 && r.Get("shadow").Bool():
		return fmt.Sprintf("%g%%, copies", percent)
	case arm == 1:
		return fmt.Sprintf("%g%%", percent)
	case r.Get("shadow").Bool():
		return "100%"
	}
	return fmt.Sprintf("%g%%", 100-percent)
}

// rolloutStanding says how the rollout stands, at its second model.
func rolloutStanding(r gjson.Result, arm int) string {
	switch {
	case arm == 0:
		return ""
	case r.Get("halted").Exists():
		return "called off: " + r.Get("halted").String()
	case r.Get("next_step_at").Exists():
		return "next step at " + r.Get("next_step_at").String()
	case r.Get("by_hand").Bool():
		return "set by hand"
	}
	return ""
}

// scoreOf is what clients gave the answers on average, and how many they scored.
func scoreOf(arm gjson.Result) string {
	if !arm.Get("score").Exists() {
		return ""
	}
	return fmt.Sprintf("%+.2f of %d", arm.Get("score").Float(), arm.Get("scores").Int())
}

func money(v gjson.Result) string {
	if !v.Exists() {
		return ""
	}
	return "$" + v.Raw
}
