package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// A walk through everything that the API does. Each answer is held to the document, and each operation must be met.
func TestWalk(t *testing.T) {
	s := newStage(t, withUsage(t), func(setup *Setup) {
		setup.Limits = func(_ context.Context, tenant string) ([]Standing, error) {
			return []Standing{
				{ID: "tenant/acme/spend/d", Tenant: tenant, Unit: "spend", Text: "$50/d", Limit: 50_000_000_000, Used: 1_250_000_000, Held: 1, Free: 48_749_999_999, Reset: time.Now()},
				{ID: "tenant/acme/key/ci/requests/m", Tenant: tenant, Key: "ci", Unit: "requests", Text: "600/m", Limit: 600, Used: 2, Free: 598},
			}, nil
		}
	})
	made := s.must("POST", "/tenants", `{"name":"acme","models":["chat","openai/*"],"teams":{"ops":{"limits":{"requests":["5/s","100/m"]}}},
		"limits":{"requests":"600/m","tokens":["200k/m","20M/d",{"limit":"1M/d","models":["chat"]}],"spend":"$50/d","concurrency":5,"vectors":"1M",
		"on_exceed":{"downgrade":"chat"},"queue":{"max":3,"wait":"2s"}},"priority":7,"timezone":"Asia/Shanghai",
		"alerts":{"at":["50%"],"webhook":"https://ops.test/","secret":"hush-hush-hush-hush"}}`)
	if made.status != 201 || made.get("limits.spend.0") != "$50/d" || made.get("alerts.secret") != "***" || made.header.Get("ETag") != `"`+made.get("revision")+`"` {
		t.Errorf("%v %s", made.header, made.body)
	}
	patched := s.must("PATCH", "/tenants/acme", `{"priority":null,"limits":{"spend":["$80/d","$900/month"],"vectors":null}}`, "If-Match", made.header.Get("ETag"))
	if patched.get("priority") != "" || patched.get("limits.spend.1") != "$900/month" || patched.get("limits.vectors") != "" || patched.get("limits.concurrency") != "5" {
		t.Error(patched.body)
	}
	if got := s.must("GET", "/tenants/acme", ""); got.body != patched.body {
		t.Errorf("%s\nafter\n%s", got.body, patched.body)
	}
	created := s.must("POST", "/tenants/acme/keys", `{"name":"ci","team":"ops","expires":"2099-01-01","limits":{"requests":"60/m"}}`)
	first := created.get("key")
	if !WellFormed(first) || !s.works(first) || created.get("last4") != first[len(first)-4:] {
		t.Errorf("%s", created.body)
	}
	rotated := s.must("POST", "/tenants/acme/keys/ci/rotate", `{"overlap":"1h"}`)
	second := rotated.get("key")
	if second == first || !s.works(first) || !s.works(second) || rotated.get("previous") != created.get("id") || rotated.get("expires_at") != "2099-01-01T00:00:00Z" || rotated.get("limits.requests.0") != "60/m" {
		t.Errorf("%s", rotated.body)
	}
	if old := s.must("GET", "/tenants/acme/keys/"+created.get("id"), ""); old.get("status") != "replaced" || old.get("expires_at") != rotated.get("previous_until") {
		t.Errorf("%s, rotated %s", old.body, rotated.body)
	}
	expired := s.must("PATCH", "/tenants/acme/keys/ci", `{"expires":null}`)
	if expired.get("id") != rotated.get("id") || expired.get("expires_at") != "" || expired.get("status") != "active" {
		t.Errorf("%s", expired.body)
	}
	if list := s.must("GET", "/tenants/acme/keys", ""); list.get("data.#") != "2" {
		t.Errorf("%s", list.body)
	}
	if revoked := s.must("DELETE", "/tenants/acme/keys/ci", ""); revoked.get("status") != "revoked" || s.works(first) || s.works(second) {
		t.Errorf("%s: the keys of the name work still", revoked.body)
	}
	limits := s.must("GET", "/limits?tenant=acme", "")
	if limits.get("data.1.used") != "1.25" || limits.get("data.1.held") != "0.000000001" || limits.get("data.0.scope") != "key" {
		t.Errorf("%s", limits.body)
	}
	for path, want := range map[string]string{"/whoami": "admin_key", "/config": "***", "/roles": "tenant_admin", "/openapi.json": "3.1.0", "/tenants": `"config"`} {
		if got := s.must("GET", path, ""); !strings.Contains(got.body, want) {
			t.Errorf("%s: %s", path, got.body)
		}
	}
	if got := s.must("GET", "/config", "", "Accept", "application/yaml"); got.body != "server: {admin_key: '***'}\n" {
		t.Error(got.body)
	}
	s.must("POST", "/config/reload", "")
	s.keepVersions()
	for _, path := range []string{"/config/versions", "/config/versions/1", "/config/diff"} {
		s.must("GET", path, "")
	}
	s.must("POST", "/config/rollback", `{"version":1}`)
	s.must("POST", "/config/unpin", "")
	s.must("POST", "/targets/force", `{"model":"chat","provider":"openai","state":"open"}`)
	s.must("GET", "/rollouts", "")
	s.must("POST", "/rollouts/set", `{"model":"chat","halt":true}`)
	s.must("POST", "/route/explain", `{"body":{"model":"chat"}}`)
	s.must("GET", "/targets", "")
	s.must("POST", "/pools/drain", `{"provider":"gpu","replica":"http://10.0.0.1:8000"}`)
	s.must("POST", "/pools/undrain", `{"provider":"gpu","replica":"http://10.0.0.1:8000"}`)
	s.must("GET", "/pools", "")
	s.must("GET", "/prices?model=gpt-4o", "")
	s.must("DELETE", "/cache?model=chat&tenant=acme", "")
	for _, path := range []string{"/usage?by=model", "/usage/forecast?where.tenant=acme", "/usage/anomalies?unit=hour", "/usage/requests"} {
		s.must("GET", path, "")
	}
	s.must("DELETE", "/tenants/acme", "")
	s.want(s.owner("GET", "/tenants/acme", ""), 404, "not_found", "")
	s.must("GET", "/audit", "")
	for path, item := range s.spec.doc.Get("paths").Map() {
		for method := range item.Map() {
			if op := "/paths/" + escaped(path) + "/" + method; method != "parameters" && !s.seen[op] {
				t.Errorf("the walk does not come by %s %s", method, path)
			}
		}
	}
}

// Whatever is wrong is told with its path, and nothing is made of it.
func TestRefusals(t *testing.T) {
	s := newStage(t)
	s.must("POST", "/tenants", `{"name":"acme","models":["chat"],"teams":{"ops":{}},"alerts":{"webhook":"https://ops.test/","secret":"old-secret-old-secret"}}`)
	s.must("POST", "/tenants/acme/keys", `{"name":"ci","team":"ops"}`)
	for _, try := range []struct {
		method, path, body string
		status             int
		code, param        string
	}{
		{"POST", "/tenants", ``, 400, "", "name"},
		{"POST", "/tenants", `{"name":"a/b"}`, 400, "", "name"},
		{"POST", "/tenants", `{"name":7}`, 400, "", "name"},
		{"POST", "/tenants", `{"name":"acme"}`, 409, "already_exists", "name"},
		{"POST", "/tenants", `{"name":"filed"}`, 409, "already_exists", "name"},
		{"POST", "/tenants", `{"name":"x","model":["chat"]}`, 400, "", "model"},
		{"POST", "/tenants", `{"name":"x","models":["gone"]}`, 400, "", "models[0]"},
		{"POST", "/tenants", `{"name":"x","limits":{"spend":["$5/m"]}}`, 400, "", "limits.spend[0]"},
		{"POST", "/tenants", `{"name":"x","keys":[]}`, 400, "", "keys"},
		{"POST", "/tenants", `{"name":"x","priority":11}`, 400, "", "priority"},
		{"POST", "/tenants", `{"name":"x","timezone":"Mars"}`, 400, "", "timezone"},
		{"POST", "/tenants", `{"name":"x","alerts":{"secret":"${HOME}"}}`, 400, "", "alerts.secret"},
		{"POST", "/tenants", `{"name":"x","alerts":{"${HOME}":1}}`, 400, "", "alerts.${HOME}"},
		{"POST", "/tenants", `{"name":"x","alerts":{"secret":"***"}}`, 400, "", "alerts.secret"},
		{"POST", "/tenants", `{"name":"x","limits":{"concurrency":1,"concurrency":2}}`, 400, "", "limits.concurrency"},
		{"POST", "/tenants", `{"name":"x"} {}`, 400, "", ""},
		{"POST", "/tenants", `[]`, 400, "", ""},
		{"POST", "/tenants", `{"name":`, 400, "", ""},
		{"POST", "/tenants", "{\"name\":\"\xff\"}", 400, "", ""},
		{"POST", "/tenants", strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), 400, "", strings.Repeat("a.", 32) + "a"},
		{"POST", "/tenants", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, "request_too_large", ""},
		{"PATCH", "/tenants/acme", `{"models":["gone"]}`, 400, "", "models[0]"},
		{"PATCH", "/tenants/acme", `{"name":"other"}`, 400, "", "name"},
		{"PATCH", "/tenants/acme", `{"teams":{"ops":null}}`, 409, "in_use", "teams.ops"},
		{"PATCH", "/tenants/acme", `{"revision":"0123456789abcdef","priority":3}`, 412, "precondition_failed", "revision"},
		{"PATCH", "/tenants/filed", `{"priority":3}`, 409, "configured", ""},
		{"DELETE", "/tenants/filed", ``, 409, "configured", ""},
		{"DELETE", "/tenants/nobody", ``, 404, "not_found", ""},
		{"GET", "/tenants/nobody", ``, 404, "not_found", ""},
		{"GET", "/tenants?limit=0", ``, 400, "", "limit"},
		{"GET", "/tenants?limit=1001", ``, 400, "", "limit"},
		{"POST", "/tenants/nobody/keys", `{"name":"x"}`, 404, "not_found", ""},
		{"POST", "/tenants/acme/keys", `{"name":"ci"}`, 409, "already_exists", "name"},
		{"POST", "/tenants/acme/keys", `{"role":"developer"}`, 400, "", "name"},
		{"POST", "/tenants/acme/keys", `{"name":"x","role":"king"}`, 400, "", "role"},
		{"POST", "/tenants/acme/keys", `{"name":"x","team":"gone"}`, 400, "", "team"},
		{"POST", "/tenants/acme/keys", `{"name":"x","expires":"2001-01-01"}`, 400, "", "expires"},
		{"POST", "/tenants/acme/keys", `{"name":"x","expires":"soon"}`, 400, "", "expires"},
		{"POST", "/tenants/acme/keys", `{"name":"x","limits":{"requests":["5/month"]}}`, 400, "", "limits.requests[0]"},
		{"POST", "/tenants/acme/keys", `{"name":"x","key":"jv-chosen-by-a-client"}`, 400, "", "key"},
		{"POST", "/tenants/filed/keys", `{"name":"main"}`, 409, "already_exists", "name"},
		{"GET", "/tenants/acme/keys/none", ``, 404, "not_found", ""},
		{"GET", "/tenants/acme/keys?after=none", ``, 400, "", "after"},
		{"DELETE", "/tenants/filed/keys/main", ``, 409, "configured", ""},
		{"PATCH", "/tenants/filed/keys/main", `{"expires":null}`, 409, "configured", ""},
		{"POST", "/tenants/filed/keys/main/rotate", `{}`, 409, "configured", ""},
		{"POST", "/tenants/acme/keys/ci/rotate", `{"overlap":"2161h"}`, 400, "", "overlap"},
		{"POST", "/tenants/acme/keys/ci/rotate", `{"overlap":"-1h"}`, 400, "", "overlap"},
		{"POST", "/tenants/acme/keys/ci/rotate", `{"expires":"2001-01-01"}`, 400, "", "expires"},
		{"PATCH", "/tenants/acme/keys/ci", `{}`, 400, "", "expires"},
		{"PATCH", "/tenants/acme/keys/ci", `{"expires":""}`, 400, "", "expires"},
		{"POST", "/tenants/acme/keys", `{"name":"x","expires":""}`, 400, "", "expires"},
		{"POST", "/tenants/acme/keys/ci/rotate", `{"expires":""}`, 400, "", "expires"},
		{"POST", "/tenants/acme/keys", `{"name":"x\u0007"}`, 400, "", "name"},
		{"POST", "/tenants", `{"name":"x","limits":null}`, 400, "", "limits"},
		{"GET", "/audit?format=csv", ``, 400, "", "format"},
		{"PATCH", "/tenants/acme/keys/ci", `{"expires":null,"role":"viewer"}`, 400, "", "expires"},
		{"PATCH", "/tenants/acme/keys/ci", `{"expires":5}`, 400, "", "expires"},
		{"GET", "/limits?tenant=nobody", ``, 404, "not_found", ""},
		{"GET", "/audit?since=yesterday", ``, 400, "", "since"},
		{"GET", "/audit?after=x", ``, 400, "", "after"},
		{"GET", "/audit?kind=odd", ``, 400, "", "kind"},
		{"PUT", "/tenants/acme", `{}`, 405, "method_not_allowed", ""},
		{"GET", "/nothing", ``, 404, "not_found", ""},
	} {
		before := s.must("GET", "/audit?limit=1000", "").get("data.#")
		got := s.owner(try.method, try.path, try.body)
		if got.status != try.status || got.get("error.code") != try.code || got.get("error.param") != try.param || got.get("error.message") == "" {
			t.Errorf("%s %s %.100s: %d %s", try.method, try.path, try.body, got.status, got.body)
		}
		if strings.Contains(got.body, os.Getenv("HOME")+`"`) {
			t.Errorf("%s tells of the environment", got.body)
		}
		if after := s.must("GET", "/audit?limit=1000", "").get("data.#"); after != before {
			t.Errorf("%s %s %.100s: something was done", try.method, try.path, try.body)
		}
	}
	if got := s.owner("POST", "/tenants", `{"name":"x"}`, "Content-Type", "text/plain"); got.status != 415 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// A secret that comes back as it was shown stays what it was.
func TestMaskedSecretsStay(t *testing.T) {
	s := newStage(t)
	s.must("POST", "/tenants", `{"name":"acme","alerts":{"webhook":"https://a.test/","secret":"the-secret-itself"}}`)
	s.must("PATCH", "/tenants/acme", `{"alerts":{"webhook":"https://b.test/","secret":"***"}}`)
	d, err := s.setup.Store.Directory(t.Context())
	if err != nil || !jsonIs(d.Tenants[0].Config, `{"alerts":{"secret":"the-secret-itself","webhook":"https://b.test/"}}`) {
		t.Errorf("%s, %v", d.Tenants[0].Config, err)
	}
}

func jsonIs(got []byte, want string) bool { return string(got) == want }

// Names and texts in any language, and what is awkward in a path.
func TestNames(t *testing.T) {
	s := newStage(t)
	for _, name := range []string{"研发部", "a b", "50%", "x?y", "a.b", "É"} {
		escape := strings.NewReplacer("%", "%25", " ", "%20", "?", "%3F")
		if a := s.owner("POST", "/tenants", fmt.Sprintf(`{"name":%q}`, name)); a.status != 201 {
			t.Errorf("%q: %d %s", name, a.status, a.body)
			continue
		}
		if got := s.must("GET", "/tenants/"+escape.Replace(name), "").get("name"); got != name {
			t.Errorf("%q is called %q", name, got)
		}
	}
	if a := s.owner("POST", "/tenants", `{"name":"\ud83d\ude00","models":["chat"]}`); a.status != 201 || a.get("name") != "😀" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Changes of several at once are all made, and one that builds on what is no more is refused.
func TestLostUpdates(t *testing.T) {
	s := newStage(t)
	s.must("POST", "/tenants", `{"name":"acme"}`)
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() { s.owner("PATCH", "/tenants/acme", fmt.Sprintf(`{"teams":{"t%d":{}}}`, i)) })
	}
	all.Wait()
	now := s.must("GET", "/tenants/acme", "")
	if n := len(gjson.Get(now.body, "teams").Map()); n != 10 {
		t.Errorf("%d of 10 changes are there", n)
	}
	won := make(chan int, 10)
	for i := range 10 {
		all.Go(func() {
			won <- s.owner("PATCH", "/tenants/acme", fmt.Sprintf(`{"priority":%d}`, i+1), "If-Match", now.header.Get("ETag")).status
		})
	}
	all.Wait()
	close(won)
	count := map[int]int{}
	for status := range won {
		count[status]++
	}
	if count[200] != 1 || count[412] != 9 {
		t.Errorf("of ten changes of one revision: %v", count)
	}
}

func TestPaging(t *testing.T) {
	s := newStage(t)
	for i := range 5 {
		s.must("POST", "/tenants", fmt.Sprintf(`{"name":"t%d"}`, i))
		s.must("POST", "/tenants/filed/keys", fmt.Sprintf(`{"name":"k%d"}`, i))
	}
	for path, want := range map[string]string{
		"/tenants": "filed t0 t1 t2 t3 t4", "/tenants/filed/keys": "boss head k0 k1 k2 k3 k4 main",
		"/roles": "chief developer operator quotas super_admin tenant_admin viewer",
	} {
		var got []string
		after := ""
		for pages := 0; ; pages++ {
			a := s.must("GET", path+"?limit=2&after="+after, "")
			for _, row := range gjson.Get(a.body, "data").Array() {
				got = append(got, row.Get("name").String())
			}
			if after = a.get("last_id"); a.get("has_more") != "true" {
				break
			}
			if pages > 10 {
				t.Fatalf("%s: no end", path)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", path, got, want)
		}
	}
	first := s.must("GET", "/audit?limit=3", "")
	next := s.must("GET", "/audit?limit=3&after="+first.get("last_id"), "")
	if first.get("has_more") != "true" || next.get("data.0.id") != "4" {
		t.Errorf("%s\n%s", first.body, next.body)
	}
}

// Without an admin key the port is for this machine's users and for no page in their browser.
func TestWithoutKey(t *testing.T) {
	s := newStage(t, func(setup *Setup) { setup.Key = "" })
	here := strings.TrimPrefix(s.server.URL, "http://")
	for _, test := range []struct {
		headers []string
		status  int
	}{
		{nil, 200},
		{[]string{"Host", "localhost:8081"}, 200},
		{[]string{"Host", "[::1]:8081"}, 200},
		{[]string{"Host", "localhost"}, 200},
		{[]string{"Host", "evil.test"}, 403},
		{[]string{"Host", "evil.test:8081"}, 403},
		{[]string{"Host", "127.0.0.1.evil.test"}, 403},
		{[]string{"Host", "localhost.evil.test"}, 403},
		{[]string{"Origin", "http://" + here}, 200},
		{[]string{"Origin", "http://evil.test"}, 403},
		{[]string{"Origin", "null"}, 403},
		{[]string{"X-Forwarded-For", "192.0.2.1"}, 403},
		{[]string{"x-forwarded-proto", "https"}, 403},
		{[]string{"X-Real-Ip", "192.0.2.1"}, 403},
		{[]string{"Forwarded", "for=192.0.2.1"}, 403},
		{[]string{"Via", "1.1 proxy"}, 403},
		{[]string{"Origin", "http://localhost:3000"}, 403},
		{[]string{"Sec-Fetch-Site", "same-origin"}, 200},
		{[]string{"Sec-Fetch-Site", "none"}, 200},
		{[]string{"Sec-Fetch-Site", "cross-site"}, 403},
		{[]string{"Sec-Fetch-Site", "same-site"}, 403},
	} {
		for _, path := range []string{prefix + "/tenants", "/metrics", "/debug/pprof/goroutine", prefix + "/config"} {
			if a := s.as("", "GET", path, "", test.headers...); a.status != test.status {
				t.Errorf("%s with %v: %d %s", path, test.headers, a.status, a.body)
			}
		}
	}
	from := httptest.NewRequest(http.MethodGet, "http://localhost"+prefix+"/tenants", nil)
	for remote, want := range map[string]int{"192.0.2.1:1234": 403, "10.0.0.1:1": 403, "127.0.0.1:1234": 200, "[::1]:1234": 200} {
		from.RemoteAddr = remote
		answer := httptest.NewRecorder()
		if s.server.Config.Handler.ServeHTTP(answer, from); answer.Code != want {
			t.Errorf("from %s: %d", remote, answer.Code)
		}
	}
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""} {
		if a := s.as("", "POST", prefix+"/tenants", `{"name":"x"}`, "Content-Type", kind); a.status != 415 {
			t.Errorf("a body of type %q: %d %s", kind, a.status, a.body)
		}
	}
	if a := s.as("", "GET", prefix+"/whoami", ""); a.get("actor") != "local" || a.get("role") != "super_admin" {
		t.Error(a.body)
	}
	if a := s.as("jv-filed-head-0123456789", "GET", prefix+"/config", ""); a.status != 403 {
		t.Errorf("a key that says less is passed over: %d %s", a.status, a.body)
	}
	if a := s.as("unknown", "GET", prefix+"/tenants", ""); a.status != 401 {
		t.Errorf("an unknown key is passed over: %d %s", a.status, a.body)
	}
}

func TestProbesAndMetrics(t *testing.T) {
	var ready error
	s := newStage(t, func(setup *Setup) { setup.Ready = func() error { return ready } })
	for _, test := range []struct {
		key, path string
		ready     error
		status    int
		body      string
	}{
		{"", "/healthz", nil, 200, `"ok"`},
		{"", "/readyz", nil, 200, `"ok"`},
		{"", "/readyz", errors.New("draining"), 503, "draining"},
		{"", "/healthz", errors.New("draining"), 200, `"ok"`},
		{"", "/metrics", nil, 401, `"code":"invalid_api_key"`},
		{"wrong", "/metrics", nil, 401, `"code":"invalid_api_key"`},
		{"", "/debug/pprof/", nil, 401, ""},
		{"", "/nothing", nil, 401, ""},
		{adminKey, "/nothing", nil, 404, "not_found"},
		{adminKey, "/metrics", nil, 200, "jarvis_test 0"},
		{adminKey, "/debug/pprof/heap", nil, 200, ""},
		{"jv-filed-boss-0123456789", "/metrics", nil, 200, "jarvis_test 0"},
	} {
		ready = test.ready
		a := s.as(test.key, "GET", test.path, "")
		if a.status != test.status || !strings.Contains(a.body, test.body) || strings.Contains(a.body, adminKey) {
			t.Errorf("%s with %q: %d %s", test.path, test.key, a.status, a.body)
		}
	}
}

func TestReload(t *testing.T) {
	s := newStage(t, func(setup *Setup) {
		setup.Reload = func(string) error {
			return errors.New("models.chat.targets[0].provider: unknown provider \"x\"\nlimits: bad")
		}
	})
	a := s.owner("POST", "/config/reload", "")
	s.want(a, 400, "config_invalid", "models.chat.targets[0].provider")
	if !strings.Contains(a.get("error.message"), "limits: bad") {
		t.Error(a.body)
	}
}

// A store that does not answer is told of, and nothing more than that.
func TestStoreAway(t *testing.T) {
	s := newStage(t)
	s.must("POST", "/tenants", `{"name":"acme"}`)
	if err := s.setup.Store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, try := range []struct{ method, path, body string }{
		{"GET", "/tenants", ""}, {"POST", "/tenants", `{"name":"x"}`}, {"GET", "/audit", ""}, {"GET", "/audit?format=jsonl", ""}, {"DELETE", "/tenants/acme", ""},
	} {
		a := s.owner(try.method, try.path, try.body)
		if s.want(a, 503, "state_unavailable", ""); strings.Contains(a.body, "database") {
			t.Errorf("too much: %s", a.body)
		}
	}
}

// No key is anywhere but in the answer that made it.
func TestKeysAreNowhere(t *testing.T) {
	s := newStage(t)
	s.must("POST", "/tenants", `{"name":"acme","alerts":{"webhook":"https://ops.test/","secret":"alert-secret-canary"}}`)
	var secrets []string
	for i := range 3 {
		name := fmt.Sprintf("k%d", i)
		secrets = append(secrets, s.newKey("acme", name, ""), s.must("POST", "/tenants/acme/keys/"+name+"/rotate", `{}`).get("key"))
	}
	for _, secret := range secrets {
		s.as(secret, "GET", prefix+"/tenants", "")
		s.as(secret+"x", "GET", prefix+"/tenants/"+"acme", "")
	}
	s.must("DELETE", "/tenants/acme/keys/k0", "")
	if err := s.setup.Store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var seen bytes.Buffer
	for _, path := range []string{"/tenants", "/tenants/acme", "/tenants/acme/keys", "/audit", "/audit?format=jsonl", "/tenants/filed/keys", "/tenants/filed", "/config"} {
		seen.WriteString(s.must("GET", path, "").body)
	}
	seen.WriteString(s.log.String())
	if strings.Contains(seen.String(), "alert-secret-canary") {
		t.Error("the secret of alerts is shown")
	}
	files, err := filepath.Glob(filepath.Join(s.dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		seen.Write(raw)
	}
	for _, secret := range append(secrets, adminKey, "jv-filed-main-0123456789") {
		if bytes.Contains(seen.Bytes(), []byte(secret)) || bytes.Contains(seen.Bytes(), []byte(secret[len(KeyPrefix):len(secret)-4])) {
			t.Errorf("the key that ends in %s is somewhere", secret[len(secret)-4:])
		}
	}
}

// A replica takes what another has made, as soon as it is asked about it.
func TestMadeElsewhere(t *testing.T) {
	s := newStage(t)
	other := newStage(t, func(setup *Setup) { setup.Store = s.setup.Store })
	s.must("POST", "/tenants", `{"name":"acme","teams":{"ops":{}}}`)
	key := other.must("POST", "/tenants/acme/keys", `{"name":"ci","team":"ops"}`).get("key")
	if !other.works(key) {
		t.Error("the key does not work where it was made")
	}
}
