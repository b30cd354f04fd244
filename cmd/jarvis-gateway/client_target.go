package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"
)

func targetCommand() *cobra.Command {
	return clientCommand("target", "Show how providers do, and take one out of service", func(k *client) []*cobra.Command {
		return []*cobra.Command{
			k.listTargets(),
			k.forceTarget("open", "Leave a target alone, until 'auto'", "open"),
			k.forceTarget("close", "Ask a target whatever happens, until 'auto'", "closed"),
			k.forceTarget("auto", "Leave it to the breaker again whether a target is asked", "auto"),
		}
	})
}

func (k *client) listTargets() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the targets and how they stand at the gateway that answers", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			rows, err := k.all(c.Context(), "/targets", url.Values{})
			if err != nil || k.json {
				return firstError(err, func() error { return printRows(c.OutOrStdout(), rows) })
			}
			return printTargets(c, rows)
		},
	}
}

func printTargets(c *cobra.Command, rows []gjson.Result) error {
	var lines [][]string
	for _, r := range rows {
		lines = append(lines, []string{r.Get("model").String(), r.Get("provider").String(), r.Get("served").String(), targetState(r),
			r.Get("in_flight").String(), failedOf(r), milliseconds(r.Get("first_token_p50_ms")), milliseconds(r.Get("first_token_p95_ms"))})
	}
	return table(c.OutOrStdout(), "MODEL PROVIDER SERVED STATE BUSY FAILED P50 P95", lines)
}

// targetState says in words how a target stands.
func targetState(r gjson.Result) string {
	state := r.Get("state").String()
	if cause := r.Get("cause").String(); cause != "" {
		state += " (" + cause + ")"
	}
	if until := r.Get("until").String(); until != "" {
		state += " until " + until
	}
	if until := r.Get("resting_until").String(); until != "" {
		state += ", rests until " + until
	}
	if r.Get("unheeded").Bool() && !r.Get("forced").Exists() {
		state += ", always asked"
	}
	return state
}

func failedOf(r gjson.Result) string {
	if r.Get("calls").Int() == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", r.Get("failed").Int(), r.Get("calls").Int())
}

func milliseconds(v gjson.Result) string {
	if !v.Exists() {
		return ""
	}
	return time.Duration(v.Float() * float64(time.Millisecond)).Round(time.Millisecond).String()
}

func (k *client) forceTarget(use, short, state string) *cobra.Command {
	return &cobra.Command{
		Use: use + " MODEL PROVIDER [SERVED]", Short: short, Args: cobra.RangeArgs(2, 3),
		Long: short + ".\n\nMODEL, PROVIDER and SERVED are as 'jarvis-gateway target list' has them; without SERVED all that the provider\n" +
			"serves of the model are meant. It holds for every gateway that has the same state store, also after a restart, until it is\n" +
			"decided otherwise.",
		RunE: func(c *cobra.Command, args []string) error {
			body := map[string]any{"model": args[0], "provider": args[1], "state": state}
			if len(args) > 2 {
				body["served"] = args[2]
			}
			answer, err := k.call(c.Context(), http.MethodPost, "/targets/force", body)
			if err != nil || k.json {
				return firstError(err, func() error { return printJSON(c.OutOrStdout(), answer) })
			}
			rows := answer.Get("data").Array()
			if len(rows) == 0 {
				_, err = fmt.Fprintf(c.OutOrStdout(), "It holds for every model of %s that clients will ask for.\n", oneLine(strings.Join(args, " ")))
				return err
			}
			return printTargets(c, rows)
		},
	}
}
