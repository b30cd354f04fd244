package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"
)

func configCommand() *cobra.Command {
	return clientCommand("config", "List, compare and bring back the configurations that were in force", func(k *client) []*cobra.Command {
		return []*cobra.Command{k.listVersions(), k.showVersion(), k.diffVersions(), k.rollback(), k.unpin()}
	})
}

func (k *client) listVersions() *cobra.Command {
	return &cobra.Command{
		Use: "versions", Short: "List the versions of the configuration, the newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			rows, err := k.all(c.Context(), "/config/versions", url.Values{})
			if err != nil || k.json {
				return firstError(err, func() error { return printRows(c.OutOrStdout(), rows) })
			}
			var lines [][]string
			for _, r := range rows {
				lines = append(lines, []string{r.Get("id").String(), r.Get("at").String(), r.Get("author").String(),
					clipped(r.Get("sha256").String(), 12), versionState(r)})
			}
			return table(c.OutOrStdout(), "VERSION TIME AUTHOR SHA256 STATE", lines)
		},
	}
}

func clipped(text string, most int) string { return text[:min(len(text), most)] }

// versionState says in words what a version is just now.
func versionState(v gjson.Result) string {
	var words []string
	if v.Get("current").Bool() {
		words = append(words, "in force")
	}
	if v.Get("pinned").Bool() {
		words = append(words, "pinned by "+v.Get("pinned_by").String())
	}
	if from := v.Get("restores"); from.Exists() {
		words = append(words, "as version "+from.String())
	}
	return strings.Join(words, ", ")
}

func (k *client) showVersion() *cobra.Command {
	return &cobra.Command{
		Use: "show VERSION", Short: "Print a version's files, secrets masked", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := k.call(c.Context(), http.MethodGet, "/config/versions/"+url.PathEscape(args[0]), nil)
			if err != nil || k.json {
				return firstError(err, func() error { return printJSON(c.OutOrStdout(), answer) })
			}
			for _, file := range answer.Get("files").Array() {
				if _, err := fmt.Fprintf(c.OutOrStdout(), "# %s\n", oneLine(file.Get("name").String())); err != nil {
					return err
				}
				if err := printText(c.OutOrStdout(), file.Get("text").String()); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// printText prints lines that others wrote, which must not move the cursor.
func printText(out io.Writer, text string) error {
	for line := range strings.Lines(text) {
		if _, err := fmt.Fprintln(out, oneLine(strings.TrimSuffix(line, "\n"))); err != nil {
			return err
		}
	}
	return nil
}

func (k *client) diffVersions() *cobra.Command {
	return &cobra.Command{
		Use: "diff [FROM [TO]]", Short: "Print what differs between two versions, as a unified diff", Args: cobra.MaximumNArgs(2),
		Long: "Print what differs between two versions, as a unified diff. Without TO: to the version in force; without FROM: from the one before it.",
		RunE: func(c *cobra.Command, args []string) error {
			q := url.Values{}
			for i, arg := range args {
				q.Set([]string{"from", "to"}[i], arg)
			}
			answer, err := k.call(c.Context(), http.MethodGet, "/config/diff?"+q.Encode(), nil)
			if err != nil || k.json {
				return firstError(err, func() error { return printJSON(c.OutOrStdout(), answer) })
			}
			return printText(c.OutOrStdout(), answer.Get("diff").String())
		},
	}
}

func (k *client) rollback() *cobra.Command {
	return &cobra.Command{
		Use: "rollback VERSION", Short: "Bring a version back into force, in place of the files", Args: cobra.ExactArgs(1),
		Long: "Bring a version back into force on every gateway with the same files and state store. The files are not touched: the version\n" +
			"goes in their place, also after a restart, until they change or 'jarvis-gateway config unpin'. The sections server and stores\n" +
			"stay those of the files.",
		RunE: func(c *cobra.Command, args []string) error {
			version, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || version < 1 {
				return fmt.Errorf("%q is no version (expected a whole number: see 'jarvis-gateway config versions')", clip(args[0]))
			}
			return k.changeConfig(c, "/config/rollback", map[string]any{"version": version})
		},
	}
}

func (k *client) unpin() *cobra.Command {
	return &cobra.Command{
		Use: "unpin", Short: "End a rollback: the files go again", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return k.changeConfig(c, "/config/unpin", nil) },
	}
}

func (k *client) changeConfig(c *cobra.Command, path string, body any) error {
	answer, err := k.call(c.Context(), http.MethodPost, path, body)
	if err != nil || k.json {
		return firstError(err, func() error { return printJSON(c.OutOrStdout(), answer) })
	}
	text := "The files are in force."
	if answer.Get("pinned").Bool() {
		text = "Version " + answer.Get("version").String() + " is in force in place of the files."
	}
	_, err = fmt.Fprintln(c.OutOrStdout(), text)
	return err
}
