package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jarvis-gateway/proxy/usage/export"
	"jarvis-gateway/proxy/usage/store"
)

// usageExportCommand writes old records into object storage. It works on the store itself, not through a gateway.
func usageExportCommand() *cobra.Command {
	var o export.Options
	var since, until, before string
	c := &cobra.Command{
		Use:   "export [FILE|URL] --to DIR|s3://BUCKET/PREFIX",
		Short: "Write records of past days into a folder or object storage, as Parquet or JSON lines",
		Long: "Write the records of whole days (UTC) of stores.usage of a configuration, or of the store at a URL, into a folder or a bucket:\n" +
			"TABLE/dt=2026-11-23/part-00001.parquet, an object for each table and day, which appears whole. Athena reads them as\n" +
			"configs/athena says. The same days make the same objects again. S3 takes region and credentials from the usual\n" +
			"variables (AWS_REGION, AWS_PROFILE...). Prompts and answers are left out unless --tables names contents.\n" + usageTimes,
		Example: "  jarvis-gateway usage export jarvis.yml --to s3://lake/usage --before 2026-11-01 --delete\n" +
			"  jarvis-gateway usage export sqlite:data/usage.db --to archive --since 7d --format jsonl",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if before != "" && until != "" {
				return errors.New("--before and --until say the same: leave one out")
			}
			var err error
			if o.Since, err = exportTime("since", since); err != nil {
				return err
			}
			if o.Until, err = exportTime("before", cmp.Or(before, until)); err != nil {
				return err
			}
			return exportUsage(c.Context(), cmp.Or(first(args), os.Getenv("JARVIS_CONFIG")), o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.To, "to", "", "a folder, or s3://BUCKET/PREFIX")
	f.StringVar(&o.Format, "format", "parquet", "parquet or jsonl (compressed with gzip)")
	f.StringSliceVar(&o.Tables, "tables", nil, strings.Join(store.Exports(), ", ")+" (default all but contents)")
	f.StringVar(&since, "since", "", "days from then on (default the first that there is)")
	f.StringVar(&until, "until", "", "days before then (default today)")
	f.StringVar(&before, "before", "", "the same as --until")
	f.StringVar(&o.Endpoint, "s3-endpoint", "", "the URL of what speaks S3's API but is not Amazon's")
	f.BoolVar(&o.Resume, "resume", false, "leave days alone that are there already with as many rows")
	f.BoolVar(&o.Delete, "delete", false, "delete days from the store that have been over for a day, once their objects were read back and compared")
	_ = c.MarkFlagRequired("to") // it is a flag
	return c
}

func exportTime(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := store.ReadTime(flag, text, time.Now().UTC())
	if err != nil {
		return at, fmt.Errorf("--%w", err)
	}
	return at, nil
}

func exportUsage(ctx context.Context, at string, o export.Options, out, progress io.Writer) error {
	if store.Check(at) != nil {
		conf, err := newSource(at).load()
		if err != nil {
			return err
		}
		at = conf.Stores.Usage
	}
	if path, ok := strings.CutPrefix(at, "sqlite:"); ok {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("stores.usage: %w", err)
		}
	}
	s, err := store.Open(ctx, at, store.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	o.Progress = func(p export.Progress) {
		fmt.Fprintf(progress, "%s %-9s %9d rows", p.Day.Format(time.DateOnly), p.Table, p.Rows)
		if p.Bytes > 0 {
			fmt.Fprintf(progress, " %11d bytes", p.Bytes)
		}
		fmt.Fprintln(progress, "", cmp.Or(p.Result, "..."))
	}
	sum, err := export.Run(ctx, s, o)
	fmt.Fprintf(out, "%d objects: %d rows written, %d bytes; %d rows deleted.\n", sum.Objects, sum.Rows, sum.Bytes, sum.Deleted)
	return err
}
