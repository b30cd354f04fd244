package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"
)

func poolCommand() *cobra.Command {
	return clientCommand("pool", "Show how the replicas of providers do, and drain one", func(k *client) []*cobra.Command {
		return []*cobra.Command{
			k.listReplicas(),
			k.drain("drain", "Send a replica no more requests; those that it has go on"),
			k.drain("undrain", "Send a replica requests again, few at first"),
		}
	})
}

func (k *client) listReplicas() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the replicas and how they are, as the gateway that answers sees them", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			rows, err := k.all(c.Context(), "/pools", url.Values{})
			if err != nil || k.json {
				return firstError(err, func() error { return printRows(c.OutOrStdout(), rows) })
			}
			return printReplicas(c, rows)
		},
	}
}

func printReplicas(c *cobra.Command, rows []gjson.Result) error {
	var lines [][]string
	for _, r := range rows {
		lines = append(lines, []string{r.Get("provider").String(), r.Get("replica").String(), replicaState(r), r.Get("in_flight").String(),
			r.Get("running").String(), r.Get("waiting").String(), share(r.Get("kv")), r.Get("answered").String(), r.Get("failed").String(),
			fmt.Sprint(len(r.Get("models").Array()))})
	}
	return table(c.OutOrStdout(), "PROVIDER REPLICA STATE BUSY RUNNING WAITING KV ANSWERED FAILED MODELS", lines)
}

// replicaState says in words why a replica gets what it gets.
func replicaState(r gjson.Result) string {
	words := []string{r.Get("state").String()}
	if until := r.Get("ejected_until").String(); until != "" {
		words[0] += " until " + until
	}
	if r.Get("left").Bool() {
		words[0] = "left"
	}
	if part := r.Get("share").Float(); part < 1 && words[0] == "fit" {
		words = append(words, fmt.Sprintf("starting, %.0f%% of its share", 100*part))
	}
	if slow := r.Get("slowness").Float(); slow > 1 {
		words = append(words, fmt.Sprintf("%.1f times slower than the others", slow))
	}
	return strings.Join(words, ", ")
}

func share(v gjson.Result) string {
	if !v.Exists() {
		return ""
	}
	return fmt.Sprintf("%.0f%%", 100*v.Float())
}

func (k *client) drain(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use + " PROVIDER REPLICA", Short: short, Args: cobra.ExactArgs(2),
		Long: short + ".\n\nPROVIDER and REPLICA are as 'jarvis-gateway pool list' has them. It holds for the one gateway that answers, also over a\n" +
			"reload, until its end.",
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := k.call(c.Context(), http.MethodPost, "/pools/"+use, map[string]any{"provider": args[0], "replica": args[1]})
			if err != nil || k.json {
				return firstError(err, func() error { return printJSON(c.OutOrStdout(), answer) })
			}
			return printReplicas(c, []gjson.Result{answer})
		},
	}
}
