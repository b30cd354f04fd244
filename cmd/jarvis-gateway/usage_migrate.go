package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"jarvis-gateway/proxy/usage/store"
)

// usageMigrateCommand brings the tables of usage records up to date. It works on the store itself, not through a gateway, and may
// need more rights there than a gateway does.
func usageMigrateCommand() *cobra.Command {
	var show bool
	c := &cobra.Command{
		Use:   "migrate [FILE|URL]",
		Short: "Make or update the tables in stores.usage of a configuration, or in the store at a URL",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return migrateUsage(c.Context(), cmp.Or(first(args), os.Getenv("JARVIS_CONFIG")), show, c.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&show, "dry-run", false, "only say what would be done")
	return c
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func migrateUsage(ctx context.Context, at string, show bool, out io.Writer) error {
	keep := usageDefaults.Keep
	err := store.Check(at)
	if err != nil && strings.Contains(at, "://") { // no file: nothing more is said of what may hold a password
		return err
	}
	if err != nil {
		conf, err := newSource(at).load()
		if err != nil {
			return err
		}
		at, keep = conf.Stores.Usage, conf.Usage.Keep
	}
	s, err := store.Open(ctx, at, store.Options{Keep: store.Keep(keep)})
	if err != nil {
		return err
	}
	defer s.Close()
	pending, err := s.Pending(ctx)
	if err != nil {
		return err
	}
	for _, name := range pending {
		fmt.Fprintln(out, name)
	}
	switch {
	case len(pending) == 0:
		fmt.Fprintln(out, "The tables are up to date.")
	case show:
		fmt.Fprintf(out, "%d to apply.\n", len(pending))
	default:
		if err := s.Migrate(ctx); err != nil {
			return err
		}
		fmt.Fprintf(out, "%d applied.\n", len(pending))
	}
	return nil
}
