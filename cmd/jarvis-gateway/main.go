// Command jarvis-gateway serves many LLM providers behind one OpenAI base URL.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker (-X main.version=v1.2.3); else the build's own is shown.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends a drain that takes too long
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program: its exit code is 0, 1 when something failed, or 2 when it was called wrongly.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	called := false
	root := &cobra.Command{
		Use:               "jarvis-gateway",
		Short:             "Many LLM providers behind one OpenAI base URL",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRun:  func(*cobra.Command, []string) { called = true },
	}
	root.AddCommand(serveCommand(), checkCommand(), schemaCommand(), tenantCommand(), keyCommand(), auditCommand(), configCommand(), targetCommand(), poolCommand(), rolloutCommand(), routeCommand(), pricesCommand(), cacheCommand(), ragCommand(), flowCommand(), usageCommand(), versionCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case !called:
		fmt.Fprintf(stderr, "jarvis-gateway: %v\nTry 'jarvis-gateway --help'.\n", err)
		return 2
	}
	report(stderr, err)
	return 1
}

// report prints an error; a configuration's problems stand one a line, so that editors and people can go through them.
func report(stderr io.Writer, err error) {
	if found, ok := errors.AsType[problems](err); ok {
		plural := "s"
		if len(found) == 1 {
			plural = ""
		}
		fmt.Fprintln(stderr, found)
		err = fmt.Errorf("the configuration has %d problem%s", len(found), plural)
	}
	fmt.Fprintln(stderr, "jarvis-gateway:", err)
}

func serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve [FILE]",
		Short: "Serve; without FILE and $JARVIS_CONFIG, the providers whose keys are in the environment",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path := os.Getenv("JARVIS_CONFIG")
			if len(args) > 0 {
				path = args[0]
			}
			return serve(c.Context(), path, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration and print what it comes to, secrets masked",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return check(args[0], c.OutOrStdout(), c.ErrOrStderr())
		},
	}
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration, for editors",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return printSchema(c.OutOrStdout())
		},
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			build, _ := debug.ReadBuildInfo()
			_, err := fmt.Fprintln(c.OutOrStdout(), "jarvis-gateway", versionText(version, build))
			return err
		},
	}
}

// versionText is the release and what is known of its build: v1.2.3 (go1.26.8, revision 0123abcd, modified).
func versionText(release string, build *debug.BuildInfo) string {
	if build == nil {
		build = &debug.BuildInfo{}
	}
	settings := map[string]string{}
	for _, s := range build.Settings {
		settings[s.Key] = s.Value
	}
	known := []string{build.GoVersion}
	if revision := settings["vcs.revision"]; revision != "" {
		known = append(known, "revision "+revision)
	}
	if settings["vcs.modified"] == "true" {
		known = append(known, "modified")
	}
	for _, candidate := range []string{build.Main.Version, "(devel)"} {
		if release == "" {
			release = candidate
		}
	}
	return release + " (" + strings.Join(known, ", ") + ")"
}
