package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"
)

// followEvery is how often a followed audit log is asked for more.
const followEvery = 2 * time.Second

func auditCommand() *cobra.Command {
	k := &client{}
	var since string
	var follow bool
	query := map[string]*string{"tenant": new(string), "actor": new(string), "action": new(string), "kind": new(string)}
	c := &cobra.Command{
		Use: "audit", Short: "Print the audit log: who did what, and who was refused", Args: cobra.NoArgs,
		Long: "Print the audit log, the oldest entry first; with --json as JSON lines.\n\nIt talks to a gateway that runs, through its private port (server.admin).",
	}
	k.flags(c)
	f := c.Flags()
	f.StringVar(&since, "since", "24h", "from when on, such as 24h, 30d or 2027-01-01; all for all that is kept")
	f.StringVar(query["tenant"], "tenant", "", "of this tenant alone")
	f.StringVar(query["actor"], "actor", "", "by this one alone: admin_key, or TENANT/KEY")
	f.StringVar(query["action"], "action", "", "of this action alone, such as key.create")
	f.StringVar(query["kind"], "kind", "", "of this kind alone: operation, denial, config or security")
	f.BoolVarP(&follow, "follow", "f", false, "go on with what is written from now on")
	c.RunE = func(c *cobra.Command, _ []string) error {
		q := url.Values{"format": {"jsonl"}}
		for name, value := range query {
			if *value != "" {
				q.Set(name, *value)
			}
		}
		if since != "all" {
			from, err := ago(since, time.Now())
			if err != nil {
				return fmt.Errorf("--since: %w", err)
			}
			q.Set("since", from)
		}
		return k.audit(c.Context(), c.OutOrStdout(), q, follow)
	}
	return c
}

// ago reads a time in the past.
func ago(text string, now time.Time) (string, error) {
	if length, err := span(text); err == nil {
		return now.Add(-length).UTC().Format(time.RFC3339), nil
	}
	at, _ := when(text, now)
	if s, ok := at.(string); ok {
		return s, nil
	}
	return "", fmt.Errorf("%q is no time in the past (expected one like 24h, 30d, 2026-01-01 or all)", clip(text))
}

// audit prints what there is and then, when it follows, what comes.
func (k *client) audit(ctx context.Context, out io.Writer, q url.Values, follow bool) error {
	show := k.auditPrinter(out)
	for {
		last, err := k.auditOnce(ctx, q, show)
		if last != "" {
			q.Set("after", last)
		}
		stopped := follow && ctx.Err() != nil // by the reader, who has enough
		if err != nil && !stopped {
			return err
		}
		if stopped || !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
	}
}

// auditOnce prints the entries that there are and returns the id of the last.
func (k *client) auditOnce(ctx context.Context, q url.Values, show func([]gjson.Result) error) (last string, err error) {
	res, err := k.open(ctx, http.MethodGet, "/audit?"+q.Encode(), nil, "application/x-ndjson")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	var group []gjson.Result
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return last, show(group)
		}
		if err != nil {
			return last, fmt.Errorf("the gateway's answer was cut off: %w", err)
		}
		entry := gjson.Parse(line)
		last = entry.Get("id").String()
		if group = append(group, entry); len(group) == 1000 {
			if err := show(group); err != nil {
				return last, err
			}
			group = nil
		}
	}
}

// auditPrinter prints entries: as JSON lines, or as a table whose heads stand once.
func (k *client) auditPrinter(out io.Writer) func([]gjson.Result) error {
	heads := "TIME\tKIND\tACTOR\tACTION\tTENANT\tTARGET\tFROM\n"
	return func(entries []gjson.Result) error {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, e := range entries {
			if k.json {
				if _, err := fmt.Fprintln(out, strings.TrimSpace(e.Raw)); err != nil {
					return err
				}
				continue
			}
			fmt.Fprint(w, heads)
			heads = ""
			fmt.Fprintln(w, auditLine(e))
		}
		return w.Flush()
	}
}

func auditLine(e gjson.Result) string {
	cells := make([]string, 0, 7)
	for _, field := range words("at kind actor action tenant target from") {
		text := oneLine(e.Get(field).String())
		if field == "at" {
			if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
				text = at.Local().Format(time.DateTime)
			}
		}
		if n := e.Get("repeats").Int(); field == "action" && n > 0 {
			text += fmt.Sprintf(" (and %d more)", n)
		}
		if text == "" {
			text = "-"
		}
		cells = append(cells, text)
	}
	return strings.Join(cells, "\t")
}
