package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"
	"gopkg.in/yaml.v3"
)

func tenantCommand() *cobra.Command {
	return clientCommand("tenant", "Make, show and change tenants", func(k *client) []*cobra.Command {
		return []*cobra.Command{k.createTenant(), k.listTenants(), k.showTenant(), k.editTenant(), k.deleteTenant()}
	})
}

func tenantPath(name string) string { return "/tenants/" + url.PathEscape(name) }

func (k *client) createTenant() *cobra.Command {
	var fields tenantFields
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a tenant", Args: cobra.ExactArgs(1),
		Example: "  jarvis-gateway tenant create acme --models chat,embed --requests 600/m --spend '$50/d'",
	}
	fields.flags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		body, err := fields.body(c)
		if err != nil {
			return err
		}
		body["name"] = args[0]
		answer, err := k.call(c.Context(), http.MethodPost, "/tenants", body)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.ErrOrStderr(), "Tenant %s is made. Give it a key with: jarvis-gateway key create %s NAME\n", args[0], args[0])
		return k.show(c, answer)
	}
	return c
}

func (k *client) listTenants() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List tenants", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			rows, err := k.all(c.Context(), "/tenants", url.Values{})
			if err != nil || k.json {
				return firstError(err, func() error { return printRows(c.OutOrStdout(), rows) })
			}
			var lines [][]string
			for _, r := range rows {
				lines = append(lines, []string{r.Get("name").String(), r.Get("source").String(), brief(r.Get("models")), brief(r.Get("limits"))})
			}
			return table(c.OutOrStdout(), "NAME SOURCE MODELS LIMITS", lines)
		},
	}
}

func (k *client) showTenant() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a tenant", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := k.call(c.Context(), http.MethodGet, tenantPath(args[0]), nil)
			return firstError(err, func() error { return k.show(c, answer) })
		},
	}
}

func (k *client) editTenant() *cobra.Command {
	var fields tenantFields
	c := &cobra.Command{
		Use: "edit NAME", Short: "Change a tenant: what is not named stays, an empty value takes away", Args: cobra.ExactArgs(1),
		Example: "  jarvis-gateway tenant edit acme --spend '$80/d' --requests ''",
	}
	fields.flags(c)
	revision := c.Flags().String("revision", "", "change it only if this is its revision still")
	c.RunE = func(c *cobra.Command, args []string) error {
		body, err := fields.body(c)
		if err != nil {
			return err
		}
		if len(body) == 0 {
			return fmt.Errorf("say what to change: see 'jarvis-gateway tenant edit --help'")
		}
		if *revision != "" {
			body["revision"] = *revision
		}
		answer, err := k.call(c.Context(), http.MethodPatch, tenantPath(args[0]), body)
		return firstError(err, func() error { return k.show(c, answer) })
	}
	return c
}

func (k *client) deleteTenant() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a tenant, its stored responses and its keys, which stop working at once", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := k.call(c.Context(), http.MethodDelete, tenantPath(args[0]), nil)
			if err == nil && k.json {
				return printJSON(c.OutOrStdout(), answer)
			}
			return err
		},
	}
}

// show prints one thing.
func (k *client) show(c *cobra.Command, answer gjson.Result) error {
	if k.json {
		return printJSON(c.OutOrStdout(), answer)
	}
	return details(c.OutOrStdout(), answer)
}

func firstError(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}

// limitFields are the flags of limits.
type limitFields struct{ requests, tokens, spend []string }

func (l *limitFields) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&l.requests, "requests", nil, "requests per s, m, h or d, such as 600/m; may be given again")
	f.StringSliceVar(&l.tokens, "tokens", nil, "tokens per m, d or month, such as 200k/m,20M/d")
	f.StringSliceVar(&l.spend, "spend", nil, "money per d or month, such as '$50/d' (mind the quotes: it holds a $)")
	f.String("concurrency", "", "requests in flight at once")
	f.String("documents", "", "documents kept")
	f.String("vectors", "", "vectors kept, such as 1M")
	f.String("flow-runs", "", "flows running at once")
	f.String("on-exceed", "", "over a limit: reject, queue or downgrade:MODEL")
	f.String("timezone", "", "where days and months begin, such as Asia/Shanghai")
}

// limits are what the flags say; nil: they say nothing.
func (l *limitFields) limits(c *cobra.Command) map[string]any {
	limits := map[string]any{}
	for name, list := range map[string][]string{"requests": l.requests, "tokens": l.tokens, "spend": l.spend} {
		switch {
		case !c.Flags().Changed(name):
		case len(list) == 0:
			limits[name] = nil
		default:
			limits[name] = list
		}
	}
	for flag, name := range map[string]string{"documents": "documents", "vectors": "vectors", "flow-runs": "flow_runs", "on-exceed": "on_exceed", "timezone": "timezone"} {
		setText(c, limits, flag, name)
	}
	setFlagNumber(c, limits, "concurrency")
	if len(limits) == 0 {
		return nil
	}
	return limits
}

func setText(c *cobra.Command, body map[string]any, flag, name string) {
	if f := c.Flags().Lookup(flag); f.Changed {
		if body[name] = f.Value.String(); f.Value.String() == "" {
			body[name] = nil
		}
	}
}

// setFlagNumber leaves it to the gateway to say what is no number.
func setFlagNumber(c *cobra.Command, body map[string]any, name string) {
	setText(c, body, name, name)
	if text, ok := body[name].(string); ok {
		if n := gjson.Parse(text); n.Type == gjson.Number && gjson.Valid(text) {
			body[name] = n.Value()
		}
	}
}

// tenantFields are the flags of a tenant.
type tenantFields struct {
	limitFields
	file   string
	models []string

	logPrompts bool
}

func (t *tenantFields) flags(c *cobra.Command) {
	c.Flags().StringVarP(&t.file, "file", "f", "", "a YAML file with the tenant's fields, as in the configuration; flags come on top")
	c.Flags().StringSliceVar(&t.models, "models", nil, "the models it may ask for: names, patterns with *, or provider/model")
	c.Flags().String("priority", "", "1 to 10, for the queue when the gateway is full")
	c.Flags().BoolVar(&t.logPrompts, "log-prompts", false, "keep its prompts and answers beside its usage records, masked")
	t.limitFields.flags(c)
}

func (t *tenantFields) body(c *cobra.Command) (map[string]any, error) {
	body := map[string]any{}
	if t.file != "" {
		if err := readFields(t.file, body); err != nil {
			return nil, err
		}
	}
	if c.Flags().Changed("models") {
		if body["models"] = t.models; len(t.models) == 0 {
			body["models"] = nil
		}
	}
	setFlagNumber(c, body, "priority")
	if c.Flags().Changed("log-prompts") {
		body["log_prompts"] = t.logPrompts
	}
	if limits := t.limits(c); limits != nil {
		if before, ok := body["limits"].(map[string]any); ok {
			for name, limit := range before {
				if _, said := limits[name]; !said {
					limits[name] = limit
				}
			}
		}
		body["limits"] = limits
	}
	return body, nil
}

// readFields reads a YAML file for the gateway, which knows what may stand there.
func readFields(path string, into map[string]any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	if err := yaml.Unmarshal(text, &into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
