package main

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"jarvis-gateway/flows"
	"jarvis-gateway/policy"
	"jarvis-gateway/router"
)

// flowNames are those that tenants may have among their models: any, where the flows could not be read, lest that be told twice.
func flowNames(l *flows.Library, broken error) (list []string) {
	if broken != nil {
		return []string{flows.Prefix + "*"}
	}
	for _, name := range l.Names() {
		list = append(list, flows.Prefix+name)
	}
	return list
}

func flowCommand() *cobra.Command {
	c := &cobra.Command{Use: "flow", Short: "Look at flows, without a gateway that runs"}
	var config string
	list := &cobra.Command{
		Use: "list", Short: "List the flows of a configuration, their steps and the models these ask", Args: cobra.NoArgs,
		Example: "  jarvis-gateway flow list -c jarvis.yml",
		RunE: func(c *cobra.Command, _ []string) error {
			library, err := flowsOf(cmp.Or(config, os.Getenv("JARVIS_CONFIG")))
			if err != nil {
				return err
			}
			var rows [][]string
			for _, name := range library.Names() {
				f := library.Find(name)
				rows = append(rows, []string{flows.Prefix + f.Name, f.Version, strconv.Itoa(len(f.Steps)), strings.Join(modelsOf(f), ", "), f.Description})
			}
			return table(c.OutOrStdout(), "MODEL VERSION STEPS ASKS DESCRIPTION", rows)
		},
	}
	list.Flags().StringVarP(&config, "config", "c", "", "the configuration's `FILE`; default: $JARVIS_CONFIG")
	c.AddCommand(list)
	return c
}

// flowsOf reads a configuration and gives its flows.
func flowsOf(path string) (*flows.Library, error) {
	if path == "" {
		return nil, errors.New("no configuration: name its file with -c, or in JARVIS_CONFIG")
	}
	conf, err := newSource(path).load()
	if err != nil {
		return nil, err
	}
	p, err := build(&conf.Config, nil, policy.Setup{}, router.Setup{})
	if err != nil {
		return nil, conf.explain(err)
	}
	p.retire(&parts{})
	return p.flows, nil
}

// modelsOf are the models that a flow asks.
func modelsOf(f *flows.Flow) []string {
	var list []string
	for _, s := range f.Steps {
		if m := s.Model(); m != "" {
			list = append(list, m)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
