package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// others are the calls that are not for a model: the name, method and path of each.
var others = map[string][2]string{
	"models.list":           {"GET", "/v1/models"},
	"models.get":            {"GET", "/v1/models/chat"},
	"responses.get":         {"GET", "/v1/responses/resp_1"},
	"responses.delete":      {"DELETE", "/v1/responses/resp_1"},
	"responses.cancel":      {"POST", "/v1/responses/resp_1/cancel"},
	"responses.input_items": {"GET", "/v1/responses/resp_1/input_items"},
	"feedback":              {"POST", "/v1/feedback"},
}

// rights is who may do what: every endpoint has its row, with the roles that may use it.
var rights = map[string]string{
	"chat":                  "super_admin tenant_admin developer operator writer",
	"completions":           "super_admin tenant_admin developer operator writer",
	"embeddings":            "super_admin tenant_admin developer operator writer",
	"responses":             "super_admin tenant_admin developer operator writer",
	"moderations":           "super_admin tenant_admin developer operator writer",
	"images.generations":    "super_admin tenant_admin developer operator writer",
	"images.edits":          "super_admin tenant_admin developer operator writer",
	"images.variations":     "super_admin tenant_admin developer operator writer",
	"audio.speech":          "super_admin tenant_admin developer operator writer",
	"audio.transcriptions":  "super_admin tenant_admin developer operator writer",
	"audio.translations":    "super_admin tenant_admin developer operator writer",
	"rerank":                "super_admin tenant_admin developer operator writer",
	"feedback":              "super_admin tenant_admin developer operator writer",
	"messages":              "super_admin tenant_admin developer operator writer",
	"messages.count_tokens": "super_admin tenant_admin developer operator writer",
	"models.list":           "super_admin tenant_admin developer operator viewer reader",
	"models.get":            "super_admin tenant_admin developer operator viewer reader",
	"responses.get":         "super_admin tenant_admin developer operator viewer reader",
	"responses.input_items": "super_admin tenant_admin developer operator viewer reader",
	"responses.delete":      "super_admin tenant_admin developer operator writer",
	"responses.cancel":      "super_admin tenant_admin developer operator writer",
}

// Each role at each endpoint of the data plane, through the server: whoever may not is told so before anything else.
func TestRights(t *testing.T) {
	custom := map[string]policy.Role{"writer": {Permissions: []string{"chat:create"}}, "reader": {Permissions: []string{"chat:read"}}, "clerk": {Permissions: []string{"documents:*", "workflow:*", "admin:*"}}}
	roles := []string{"super_admin", "tenant_admin", "developer", "operator", "viewer", "writer", "reader", "clerk"}
	var keys []policy.Key
	for _, role := range roles {
		keys = append(keys, policy.Key{Name: role, Key: keyOf(role), Role: role})
	}
	base := serveKeys(t, keys, custom)
	calls := map[string][2]string{}
	for path, ep := range posts {
		calls[ep.name] = [2]string{"POST", path}
	}
	for name, call := range others {
		calls[name] = call
	}
	source, err := os.ReadFile("endpoints.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	for _, found := range regexp.MustCompile(`endpoint\{name: "([^"]+)"`).FindAllSubmatch(source, -1) {
		if declared++; rights[string(found[1])] == "" || calls[string(found[1])][1] == "" {
			t.Errorf("the endpoint %s has no row here", found[1])
		}
	}
	if declared != len(rights) || declared != strings.Count(string(source), "endpoint{name:") {
		t.Errorf("%d endpoints, %d rows", declared, len(rights))
	}
	for name, row := range rights {
		may := strings.Fields(row)
		for _, role := range roles {
			status, body := call(t, calls[name], base, string(keyOf(role)), "{}")
			refused := status == 403 && strings.Contains(body, "permission")
			if refused == slices.Contains(may, role) || status == 401 {
				t.Errorf("%s, %s: %d %s", name, role, status, body)
			}
		}
	}
}

func TestPermissionDenied(t *testing.T) {
	base := serveKeys(t, []policy.Key{{Name: "v", Key: keyOf("viewer"), Role: "viewer"}}, nil)
	before := counted(t, refusals.WithLabelValues("permission_denied"))
	const message = "Your role viewer does not include the permission chat:create, which this request needs."
	_, body := call(t, [2]string{"POST", "/v1/chat/completions"}, base, string(keyOf("viewer")), "{}")
	if want := `{"error":{"message":"` + message + `","type":"permission_error","param":null,"code":"permission_denied"}}`; body != want {
		t.Errorf("%s, want %s", body, want)
	}
	_, body = call(t, [2]string{"POST", "/v1/messages"}, base, string(keyOf("viewer")), "{}")
	if got := gjson.Parse(body); got.Get("type").Str != "error" || got.Get("error.type").Str != "permission_error" || got.Get("error.message").Str != message {
		t.Errorf("%s", body)
	}
	if n := counted(t, refusals.WithLabelValues("permission_denied")) - before; n != 2 {
		t.Errorf("%v refusals counted", n)
	}
}

// While tokens cannot be checked, nobody is told that his is wrong, however much he sends.
func TestTokensCannotBeChecked(t *testing.T) {
	jwt := &policy.JWT{Issuer: "i", JWKS: "https://id.example.com/keys", Audience: "a", TenantClaim: "org"}
	base := serveGate(t, policy.Setup{JWT: jwt, Tenants: map[string]policy.Tenant{"acme": {Keys: []policy.Key{{Name: "v", Key: keyOf("viewer")}}}}})
	for _, text := range []string{"{}", `{"x":"` + strings.Repeat("x", 2*smallBody) + `"}`} {
		for key, want := range map[string]string{"a.b.c": "auth_unavailable", "wrong": "invalid_api_key", string(keyOf("viewer")): ""} {
			status, body := call(t, [2]string{"POST", "/v1/chat/completions"}, base, key, text)
			if got := gjson.Get(body, "error.code").Str; got != want || (want == "auth_unavailable") != (status == 503) {
				t.Errorf("%s, %d bytes: %d %s", key, len(text), status, body)
			}
		}
	}
}

// An endpoint that nobody gave a permission is nobody's, not everybody's.
func TestEndpointWithoutPermission(t *testing.T) {
	gate, err := policy.New(policy.Setup{Tenants: map[string]policy.Tenant{"acme": {Keys: []policy.Key{{Name: "s", Key: keyOf("super"), Role: "super_admin"}}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	x := &exchange{ep: &endpoint{}}
	if x.caller, err = gate.Identify([]byte(keyOf("super")), x.start); err != nil {
		t.Fatal(err)
	}
	if err := x.permit(); fault(err).Status != 403 {
		t.Errorf("%v", err)
	}
}

func keyOf(role string) wire.Secret { return wire.Secret("jv-0123456789-" + role) }

// serveKeys is a server with these keys, and no model.
func serveKeys(t *testing.T, keys []policy.Key, roles map[string]policy.Role) (base string) {
	t.Helper()
	return serveGate(t, policy.Setup{Tenants: map[string]policy.Tenant{"acme": {Keys: keys}}, Roles: roles})
}

func serveGate(t *testing.T, setup policy.Setup) (base string) {
	t.Helper()
	gate, err := policy.New(setup, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := router.New(router.Setup{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(t.Context(), "sqlite::memory:")
	if err != nil {
		t.Fatal(err)
	}
	access := NewAccessLog(io.Discard)
	s, err := NewServer(Config{}, NewGateway(gate, r, nil, nil), store, nil, slog.New(slog.DiscardHandler), access)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		if err := errors.Join(s.Shutdown(now), <-served, store.Close()); err != nil {
			t.Error(err)
		}
		access.Close()
	})
	return "http://" + ln.Addr().String()
}

// call asks. An empty object gets past nothing but the door.
func call(t *testing.T, what [2]string, base, key, text string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), what[0], base+what[1], strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(got)
}
