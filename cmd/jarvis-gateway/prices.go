package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/usage"
)

const aboutPrices = `Tell what answers will be counted to cost, and where each price comes from: the built-in list, the price file, what servers
cost by the hour, or what is assumed of models that nobody knows a price of.

With -c these are the prices of a configuration's targets, or of the models named, by the names that clients ask for, as
PROVIDER/MODEL, or as a provider knows them. Without it they are those of the built-in list.

Amounts are dollars for a million: tokens of input and output, and of what else is named. What is not named costs what the
input or the output does.`

func pricesCommand() *cobra.Command {
	var config string
	var asJSON bool
	c := &cobra.Command{
		Use: "prices [MODEL...]", Short: "Tell what models cost, and where the price comes from", Long: aboutPrices,
		Example: "  jarvis-gateway prices gpt-4o claude-sonnet-4-5\n  jarvis-gateway prices -c jarvis.yml\n  jarvis-gateway prices -c jarvis.yml --json chat gpu/llama",
		RunE: func(c *cobra.Command, names []string) error {
			version, list, err := quotes(config, names)
			switch {
			case err != nil:
				return err
			case asJSON:
				raw, err := json.Marshal(map[string]any{"object": "list", "version": version, "data": list})
				return firstError(err, func() error { return printJSON(c.OutOrStdout(), gjson.ParseBytes(raw)) })
			}
			return printQuotes(c.OutOrStdout(), version, list)
		},
	}
	c.Flags().StringVarP(&config, "config", "c", "", "a configuration's `FILE`")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// quotes are the prices of what is named, or of all there is, and their version.
func quotes(config string, names []string) (version string, list []usage.Quote, err error) {
	if config != "" {
		g, end, err := offline(config, time.Now)
		if err != nil {
			return "", nil, err
		}
		defer end()
		version, list = g.Quotes(names)
		return version, list, nil
	}
	prices, err := usage.New(usage.Config{})
	if err != nil {
		return "", nil, err
	}
	if len(names) == 0 {
		names = prices.Listed()
	}
	for _, name := range names {
		list = append(list, prices.Quote(usage.Place{}, name))
	}
	return prices.Version(), list, nil
}

// printQuotes prints them for people: a line for each service tier and length of prompts.
func printQuotes(out io.Writer, version string, list []usage.Quote) error {
	var rows [][]string
	for _, q := range list {
		name := q.Model
		if q.Provider != "" {
			name = strings.TrimSuffix(q.Provider+"@"+q.Region, "@") + "/" + name
		}
		if !q.Known {
			rows = append(rows, []string{name, "", "", "", "", "", q.Source})
		}
		for i, s := range q.Sections {
			row := []string{name, s.Tier, s.Prompts(), string(s.Rates["input"]), string(s.Rates["output"]), strings.Join(s.Own(), ", "), q.Source}
			if i == 0 && q.MaxOutput > 0 {
				row[6] += "; answers of " + strconv.FormatInt(q.MaxOutput, 10) + " tokens at most"
			}
			if i > 0 {
				row[0], row[6] = `"`, `"`
			}
			rows = append(rows, row)
		}
	}
	fmt.Fprintf(out, "Prices %s, in dollars for a million\n", version)
	return table(out, "MODEL TIER PROMPTS INPUT OUTPUT AND FROM", rows)
}
