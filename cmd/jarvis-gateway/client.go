package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"
)

const defaultAdmin = "http://127.0.0.1:8081"

// client talks to the private port of a gateway that runs.
type client struct {
	admin, key string // as the flags have them
	json       bool   // for machines
	wait       time.Duration
}

// clientCommand is a command whose subcommands talk to a gateway.
func clientCommand(use, short string, subcommands func(*client) []*cobra.Command) *cobra.Command {
	k := &client{}
	c := &cobra.Command{
		Use: use, Short: short,
		Long: short + ".\n\nIt talks to a gateway that runs, through its private port (server.admin).",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	k.flags(c)
	c.AddCommand(subcommands(k)...)
	return c
}

// flags adds what says where the gateway is. The key's default is read when it is needed: help must not print it.
func (k *client) flags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&k.admin, "admin", "", "the gateway's private port (default $JARVIS_ADMIN or "+defaultAdmin+")")
	f.StringVar(&k.key, "admin-key", "", "server.admin_key, or a key whose role may do this (default $JARVIS_ADMIN_KEY, which other users cannot see)")
	f.BoolVar(&k.json, "json", false, "print the gateway's answer as it is, for programs")
	f.DurationVar(&k.wait, "timeout", 30*time.Second, "how long to wait for an answer")
}

func (k *client) base() (string, error) {
	base := cmp.Or(k.admin, os.Getenv("JARVIS_ADMIN"), defaultAdmin)
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return "", fmt.Errorf("--admin: %q is no address like %s", clip(base), defaultAdmin)
	}
	return strings.TrimSuffix(base, "/"), nil
}

// open sends a request and returns the answer, which is not an error.
func (k *client) open(ctx context.Context, method, path string, body any, accept string) (*http.Response, error) {
	base, err := k.base()
	if err != nil {
		return nil, err
	}
	var content io.Reader
	if body != nil {
		raw, ready := body.([]byte)
		if !ready {
			if raw, err = json.Marshal(body); err != nil {
				return nil, err
			}
		}
		content = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+"/admin/v1"+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", accept)
	if key := cmp.Or(k.key, os.Getenv("JARVIS_ADMIN_KEY")); key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	// The key must not follow a redirect to somewhere else.
	stay := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := stay.Do(req)
	if err != nil {
		return nil, unreachable(base, err)
	}
	if res.StatusCode >= 300 {
		defer res.Body.Close()
		return nil, refusal(base, res)
	}
	return res, nil
}

// call sends a request and returns the answer's JSON.
func (k *client) call(ctx context.Context, method, path string, body any) (gjson.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, k.wait)
	defer cancel()
	res, err := k.open(ctx, method, path, body, "application/json")
	if err != nil {
		return gjson.Result{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return gjson.Result{}, fmt.Errorf("the gateway's answer was cut off: %w", err)
	}
	if !gjson.ValidBytes(raw) {
		base, _ := k.base()
		return gjson.Result{}, stranger(base)
	}
	return gjson.ParseBytes(raw), nil
}

// all reads a list to its end.
func (k *client) all(ctx context.Context, path string, query url.Values) ([]gjson.Result, error) {
	var rows []gjson.Result
	for {
		answer, err := k.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil)
		if err != nil {
			return nil, err
		}
		rows = append(rows, answer.Get("data").Array()...)
		if !answer.Get("has_more").Bool() || answer.Get("last_id").String() == "" {
			return rows, nil
		}
		query.Set("after", answer.Get("last_id").String())
	}
}

func unreachable(base string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	cause := err
	if u, ok := errors.AsType[*url.Error](err); ok {
		cause = u.Err
	}
	return fmt.Errorf("no gateway answers at %s (%w)\nStart one with 'jarvis-gateway serve', or say where its private port (server.admin) is with --admin or $JARVIS_ADMIN", base, cause)
}

func stranger(base string) error {
	return fmt.Errorf("what answers at %s is not a gateway's private port (server.admin, usually %s): see --admin", base, defaultAdmin)
}

// refusal words an error answer for people.
func refusal(base string, res *http.Response) error {
	raw, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20)) // what came must do
	e := gjson.GetBytes(raw, "error")
	message := e.Get("message").String()
	known := res.StatusCode != http.StatusNotFound || e.Get("code").String() == "not_found" // the data plane has other words
	if message == "" || !known || res.Header.Get("X-Request-Id") == "" {
		return stranger(base)
	}
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		message += "\nPut the gateway's admin key (server.admin_key) into $JARVIS_ADMIN_KEY"
	case res.StatusCode >= 500:
		message += "\nThe request's id is " + res.Header.Get("X-Request-Id")
	}
	return fmt.Errorf("the gateway says: %s", message)
}

// printJSON prints an answer as JSON, indented.
func printJSON(out io.Writer, answer gjson.Result) error {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(answer.Raw), "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, b.String())
	return err
}

// printRows prints a whole list as JSON.
func printRows(out io.Writer, rows []gjson.Result) error {
	raw := make([]string, len(rows))
	for i, row := range rows {
		raw[i] = row.Raw
	}
	return printJSON(out, gjson.Parse(`{"object":"list","data":[`+strings.Join(raw, ",")+`],"has_more":false}`))
}

// table prints rows under their heads, columns aligned.
func table(out io.Writer, heads string, rows [][]string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(words(heads), "\t"))
	for _, row := range rows {
		for i := range row {
			row[i] = oneLine(cmp.Or(row[i], "-")) // what others named must not move the cursor
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// details prints one thing, a field a line.
func details(out io.Writer, o gjson.Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	o.ForEach(func(key, value gjson.Result) bool {
		if key.String() != "object" && value.Type != gjson.Null {
			fmt.Fprintf(w, "%s\t%s\n", oneLine(key.String()), oneLine(brief(value)))
		}
		return true
	})
	return w.Flush()
}

// brief is a value on one line.
func brief(v gjson.Result) string {
	switch {
	case v.IsArray():
		var items []string
		for _, item := range v.Array() {
			items = append(items, brief(item))
		}
		return strings.Join(items, ", ")
	case v.IsObject():
		var fields []string
		v.ForEach(func(key, value gjson.Result) bool {
			text := brief(value)
			if value.IsObject() || len(value.Array()) > 1 {
				text = "(" + text + ")"
			}
			fields = append(fields, key.String()+" "+text)
			return true
		})
		return strings.Join(fields, ", ")
	}
	return v.String()
}

// when reads a time as people say it: 90d, 24h, 2027-01-01, an RFC 3339 time; now and never.
func when(text string, now time.Time) (any, error) {
	switch text {
	case "never":
		return nil, nil
	case "now":
		return now.UTC().Format(time.RFC3339), nil
	}
	if length, err := span(text); err == nil {
		return now.Add(length).UTC().Format(time.RFC3339), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if _, err := time.Parse(layout, text); err == nil {
			return text, nil
		}
	}
	return nil, fmt.Errorf("%q is no time (expected one like 90d, 24h, 2027-01-01 or never)", clip(text))
}

// span reads a length of time, which may be in days.
func span(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		text = days + "h"
		length, err := time.ParseDuration(text)
		if err == nil && length >= 0 && length < 1<<62/24 {
			return 24 * length, nil
		}
	} else if length, err := time.ParseDuration(text); err == nil && length >= 0 {
		return length, nil
	}
	return 0, fmt.Errorf("%q is no length of time (expected one like 30m, 24h or 90d)", clip(text))
}
