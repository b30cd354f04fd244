package main

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestExitCodes(t *testing.T) {
	for args, want := range map[string]struct {
		code   int
		stderr string
	}{
		"":               {0, ""},
		"--help":         {0, ""},
		"version":        {0, ""},
		"schema":         {0, ""},
		"check":          {2, "jarvis-gateway: accepts 1 arg(s), received 0\nTry 'jarvis-gateway --help'.\n"},
		"check a b":      {2, "jarvis-gateway: accepts 1 arg(s), received 2\nTry 'jarvis-gateway --help'.\n"},
		"serve a b":      {2, "jarvis-gateway: accepts at most 1 arg(s), received 2\nTry 'jarvis-gateway --help'.\n"},
		"schema --yaml":  {2, "jarvis-gateway: unknown flag: --yaml\nTry 'jarvis-gateway --help'.\n"},
		"server":         {2, "jarvis-gateway: unknown command \"server\" for \"jarvis-gateway\"\n\nDid you mean this?\n\tserve\n\nTry 'jarvis-gateway --help'.\n"},
		"check none.yml": {1, "cannot read none.yml: no such file or directory\njarvis-gateway: the configuration has 1 problem\n"},
	} {
		code, _, stderr := command(t, strings.Fields(args)...)
		if code != want.code || stderr != want.stderr {
			t.Errorf("%q: exit code %d, stderr %q", args, code, stderr)
		}
	}
}

func TestVersionText(t *testing.T) {
	build := &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "v0.9.1"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123abcd"}, {Key: "vcs.modified", Value: "true"},
	}}
	if got := versionText("", build); got != "v0.9.1 (go1.26.8, revision 0123abcd, modified)" {
		t.Error(got)
	}
	if got := versionText("v1.0.0", &debug.BuildInfo{GoVersion: "go1.26.8"}); got != "v1.0.0 (go1.26.8)" {
		t.Error(got)
	}
	if got := versionText("", nil); !strings.HasPrefix(got, "(devel)") {
		t.Error(got)
	}
}
