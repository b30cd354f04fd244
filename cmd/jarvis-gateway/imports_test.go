package main

import (
	"encoding/json"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// allowed is who of ours may import whom. A package that is missing here may import nothing of ours and be imported by
// nobody.
var allowed = map[string][]string{
	// floor 0: leaves
	"proxy/wire":   nil,
	"proxy/tokens": nil,
	"proxy/trace":  {"proxy/wire"},
	// floor 1: floor 0 only, never each other
	"proxy/dialect":  {"proxy/wire"},
	"proxy/state":    {"proxy/wire"},
	"router":         {"proxy/wire", "proxy/tokens", "router/prompt"},
	"router/prompt":  {"proxy/wire", "proxy/tokens"},
	"policy":         {"proxy/wire", "proxy/tokens", "policy/counter", "policy/guard"},
	"policy/counter": nil,
	"policy/guard":   {"proxy/wire"},
	"ragplug":        {"proxy/wire", "proxy/tokens"},
	"flows":          {"proxy/wire", "proxy/tokens"},
	"proxy/provider": {"proxy/wire", "proxy/tokens", "proxy/dialect", "router"}, // for router.Target
	"proxy/cache":    {"proxy/wire", "proxy/tokens"},
	"proxy/usage":    {"proxy/wire", "proxy/tokens"},

	"proxy/usage/spool":        nil,
	"proxy/usage/store":        {"proxy/wire", "proxy/usage", "proxy/usage/store/sqlite", "configs/clickhouse"},
	"proxy/usage/store/sqlite": nil, // migrations
	"proxy/usage/export":       {"proxy/wire", "proxy/usage/store"},
	"proxy/usage/stream":       {"proxy/wire", "proxy/usage", "proxy/usage/store"},
	"configs/clickhouse":       nil, // migrations
	// floor 2
	"proxy":       {"proxy/wire", "proxy/tokens", "proxy/trace", "proxy/dialect", "proxy/state", "router", "router/prompt", "policy", "policy/counter", "policy/guard", "ragplug", "flows", "proxy/provider", "proxy/cache", "proxy/usage", "proxy/usage/spool", "proxy/usage/store"},
	"proxy/admin": {"proxy/wire", "proxy/tokens", "proxy/state", "router", "router/prompt", "policy", "ragplug", "flows", "proxy/provider", "proxy/cache", "proxy/usage", "proxy/usage/store"},
	// floor 3
	"cmd/jarvis-gateway": {"proxy/wire", "proxy/tokens", "proxy/trace", "proxy/dialect", "proxy/state", "router", "router/prompt", "policy", "policy/counter", "ragplug", "flows", "proxy/provider", "proxy/cache", "proxy/usage", "proxy/usage/spool", "proxy/usage/store", "proxy/usage/export", "proxy/usage/stream", "proxy", "proxy/admin"},
}

// drivers may be imported by the package that has their store.
var drivers = map[string]string{
	"github.com/ClickHouse":                     "proxy/usage/store",
	"github.com/fsnotify/fsnotify":              "cmd/jarvis-gateway",
	"modernc.org/sqlite":                        "proxy/state proxy/usage/store",
	"github.com/jackc/pgx":                      "proxy/state",
	"github.com/redis/go-redis":                 "policy/counter proxy/cache",
	"github.com/golang-jwt/jwt":                 "policy",
	"github.com/MicahParks/jwkset":              "policy",
	"github.com/aws":                            "proxy/provider proxy/usage/export proxy/usage/stream",
	"github.com/parquet-go":                     "proxy/usage/export",
	"gocloud.dev":                               "proxy/usage/stream",
	"github.com/IBM/sarama":                     "proxy/usage/stream",
	"github.com/rabbitmq":                       "proxy/usage/stream",
	"github.com/spf13/cobra":                    "cmd/jarvis-gateway",
	"github.com/Masterminds/semver":             "router/prompt",
	"go.yaml.in/yaml":                           "cmd/jarvis-gateway",
	"github.com/prometheus/client_golang":       "proxy",
	"github.com/valyala/fasthttp/fasthttpproxy": "proxy/provider",
}

type listed struct {
	ImportPath, Dir                    string
	Imports, TestImports, XTestImports []string
}

func listPackages(t *testing.T) (list []listed) {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,TestImports,XTestImports", "jarvis-gateway/...").Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p listed
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < len(allowed)/2 {
		t.Fatalf("only %d packages", len(list))
	}
	return list
}

func TestWhoImportsWhom(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, "jarvis-gateway/")
		floor, known := allowed[name]
		bench := strings.HasPrefix(name, "bench/")
		if !known && !bench {
			t.Errorf("%s is not in the table", name)
		}
		for _, imported := range p.Imports {
			ours, isOurs := strings.CutPrefix(imported, "jarvis-gateway/")
			switch {
			case !isOurs:
				if owner := driverOf(imported); owner != "" && !bench && !slices.Contains(strings.Fields(owner), name) && name != path.Join(owner, "admin") {
					t.Errorf("%s imports %s, which is for %s", name, imported, owner)
				}
			case bench && strings.HasPrefix(ours, "bench/"):
			case !slices.Contains(floor, ours):
				t.Errorf("%s imports %s", name, ours)
			}
		}
		for _, imported := range append(p.TestImports, p.XTestImports...) {
			if strings.HasPrefix(imported, "jarvis-gateway/cmd/") {
				t.Errorf("the tests of %s import %s", name, imported)
			}
		}
	}
}

// An image may hold nothing but the gateway; days and months begin somewhere all the same.
func TestTimeZonesAreBuiltIn(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.ImportPath == "jarvis-gateway/cmd/jarvis-gateway" && !slices.Contains(p.Imports, "time/tzdata") {
			t.Error("the program does not import time/tzdata")
		}
	}
}

func driverOf(imported string) string {
	for prefix, owner := range drivers {
		if imported == prefix || strings.HasPrefix(imported, prefix+"/") {
			return owner
		}
	}
	return ""
}
