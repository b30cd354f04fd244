package main

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// What the command says of a configuration's targets, and of the built-in list.
func TestPrices(t *testing.T) {
	const config = "testdata/prices/jarvis.yml"
	for name, args := range map[string][]string{
		"targets":  {"-c", config},
		"named":    {"-c", config, "chat", "openai/whisper-1", "whisper-1", "o3", "nobody-knows"},
		"json":     {"-c", config, "--json", "own", "openai/whisper-1"},
		"built-in": {"gpt-4o-2024-08-06", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "gpt-image-1", "nobody-knows"},
	} {
		t.Run(name, func(t *testing.T) {
			code, got, stderr := command(t, append([]string{"prices"}, args...)...)
			if code != 0 || stderr != "" {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			file := "testdata/prices/" + name + ".golden"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if want := readFile(t, file); got != want {
				t.Errorf("%s differs (go test -update writes it anew); got:\n%s", file, got)
			}
		})
	}
	_, all, _ := command(t, "prices")
	_, data, _ := command(t, "prices", "--json")
	if models := gjson.Get(data, "data.#").Int(); models < 150 || int64(strings.Count(all, "built-in list")) != models {
		t.Errorf("%d models in JSON, %d in the table", models, strings.Count(all, "built-in list"))
	}
	if code, _, stderr := command(t, "prices", "-c", "testdata/nowhere.yml"); code != 1 || !strings.Contains(stderr, "nowhere.yml") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// A gateway that runs tells the prices that it counts with.
func TestPricesInForce(t *testing.T) {
	g, _, _ := paying(t)
	res, err := http.Get("http://" + g.private + "/admin/v1/prices?model=tiers&model=nobody-knows")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"data.#": "2", "data.0.provider": "up", "data.0.model": "gpt-tiers", "data.0.sections.#": "4",
		`data.0.sections.#(tier=="batch").usd_per_million.output`: "250", `data.0.sections.#(tier=="standard").usd_per_million.input`: "1000", "data.1.known": "false",
	} {
		if got := gjson.GetBytes(raw, path).String(); got != want {
			t.Errorf("%s: %q, want %q in %s", path, got, want, raw)
		}
	}
}
