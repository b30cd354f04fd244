package main

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"
)

func keyCommand() *cobra.Command {
	return clientCommand("key", "Make, show and revoke the API keys of tenants", func(k *client) []*cobra.Command {
		return []*cobra.Command{k.createKey(), k.listKeys(), k.showKey(), k.rotateKey(), k.revokeKey(), k.expireKey()}
	})
}

func keyPath(args []string) string { return tenantPath(args[0]) + "/keys/" + url.PathEscape(args[1]) }

func (k *client) createKey() *cobra.Command {
	var limits limitFields
	var role, team, expires string
	c := &cobra.Command{
		Use: "create TENANT NAME", Short: "Make a key; it alone is printed, this one time", Args: cobra.ExactArgs(2),
		Example: "  KEY=$(jarvis-gateway key create acme ci --expires 90d)",
	}
	c.Flags().StringVar(&role, "role", "", "super_admin, tenant_admin, developer (default), operator, viewer, or one of the configuration's roles")
	c.Flags().StringVar(&team, "team", "", "one of the tenant's teams, whose limits it shares")
	c.Flags().StringVar(&expires, "expires", "", "when it stops working, such as 90d or 2027-01-01 (default never)")
	limits.flags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		body := map[string]any{"name": args[1]}
		setText(c, body, "role", "role")
		setText(c, body, "team", "team")
		if expires != "" {
			until, err := when(expires, time.Now())
			if err != nil {
				return fmt.Errorf("--expires: %w", err)
			}
			body["expires"] = until
		}
		if l := limits.limits(c); l != nil {
			body["limits"] = l
		}
		answer, err := k.call(c.Context(), http.MethodPost, tenantPath(args[0])+"/keys", body)
		return firstError(err, func() error { return k.hand(c, answer) })
	}
	return c
}

// hand prints a new key alone, so that a script may take it, and beside it what a reader should know.
func (k *client) hand(c *cobra.Command, answer gjson.Result) error {
	if k.json {
		return printJSON(c.OutOrStdout(), answer)
	}
	for _, field := range []string{"warning", "previous_until"} {
		switch text := oneLine(answer.Get(field).String()); {
		case text == "":
		case field == "warning":
			fmt.Fprintln(c.ErrOrStderr(), text)
		default:
			fmt.Fprintln(c.ErrOrStderr(), "The key before it works until "+text+".")
		}
	}
	_, err := fmt.Fprintln(c.OutOrStdout(), answer.Get("key").String())
	return err
}

func (k *client) listKeys() *cobra.Command {
	return &cobra.Command{
		Use: "list TENANT", Short: "List a tenant's keys", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			rows, err := k.all(c.Context(), tenantPath(args[0])+"/keys", url.Values{})
			if err != nil || k.json {
				return firstError(err, func() error { return printRows(c.OutOrStdout(), rows) })
			}
			var lines [][]string
			for _, r := range rows {
				lines = append(lines, []string{
					r.Get("name").String(), r.Get("status").String(), ending(r), r.Get("role").String(), r.Get("team").String(),
					r.Get("expires_at").String(), r.Get("source").String(), brief(r.Get("limits")),
				})
			}
			return table(c.OutOrStdout(), "NAME STATUS ENDS ROLE TEAM EXPIRES SOURCE LIMITS", lines)
		},
	}
}

// ending is how a key ends: enough to tell keys apart.
func ending(key gjson.Result) string {
	if last := key.Get("last4").String(); last != "" {
		return "..." + last
	}
	return ""
}

func (k *client) showKey() *cobra.Command {
	return &cobra.Command{
		Use: "show TENANT NAME", Short: "Show what is known of a key", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := k.call(c.Context(), http.MethodGet, keyPath(args), nil)
			return firstError(err, func() error { return k.show(c, answer) })
		},
	}
}

func (k *client) rotateKey() *cobra.Command {
	var overlap string
	c := &cobra.Command{
		Use: "rotate TENANT NAME", Short: "Put a new key in the place of one; the new one alone is printed", Args: cobra.ExactArgs(2),
		Example: "  KEY=$(jarvis-gateway key rotate acme ci --overlap 24h)",
	}
	c.Flags().StringVar(&overlap, "overlap", "24h", "how long the key before goes on working, such as 0s, 24h or 7d")
	c.RunE = func(c *cobra.Command, args []string) error {
		length, err := span(overlap)
		if err != nil {
			return fmt.Errorf("--overlap: %w", err)
		}
		answer, err := k.call(c.Context(), http.MethodPost, keyPath(args)+"/rotate", map[string]any{"overlap": length.String()})
		return firstError(err, func() error { return k.hand(c, answer) })
	}
	return c
}

func (k *client) revokeKey() *cobra.Command {
	return &cobra.Command{
		Use: "revoke TENANT NAME", Short: "Make a key stop working on every replica, for ever", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := k.call(c.Context(), http.MethodDelete, keyPath(args), nil)
			if err == nil && k.json {
				return printJSON(c.OutOrStdout(), answer)
			}
			return err
		},
	}
}

func (k *client) expireKey() *cobra.Command {
	return &cobra.Command{
		Use: "expire TENANT NAME WHEN", Short: "Say when a key stops working: 24h, 90d, 2027-01-01, now or never", Args: cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			until, err := when(args[2], time.Now())
			if err != nil {
				return err
			}
			answer, err := k.call(c.Context(), http.MethodPatch, keyPath(args), map[string]any{"expires": until})
			return firstError(err, func() error { return k.show(c, answer) })
		},
	}
}
