package proxy

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/usage/spool"
	"jarvis-gateway/proxy/wire"
)

// series are those of a metric, as labels in the order of their names.
func series(t testing.TB, name string) map[string]*dto.Metric {
	t.Helper()
	families, err := Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*dto.Metric{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			if f.GetName() == name {
				found[strings.Join(labels, " ")] = m
			}
		}
	}
	return found
}

// However many tenants there are, the first so many have a name; the others are one, and a name once given stays.
func TestTenantsInMetricsAreBounded(t *testing.T) {
	var names tenantNames
	names.most.Store(3)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				names.label(fmt.Sprint("tenant-", i))
			}
		})
	}
	wg.Wait()
	if got := *names.named.Load(); len(got) != 3 {
		t.Errorf("%d have a name: %v", len(got), got)
	}
	var kept string
	for name := range *names.named.Load() {
		kept = name
	}
	names.most.Store(1)
	if got := names.label(kept); got != kept {
		t.Errorf("%s is called %q once there may be fewer", kept, got)
	}
	if got := names.label("late"); got != "other" {
		t.Errorf("one too many is called %q", got)
	}
	if got := names.label(""); got != "" {
		t.Errorf("nobody is called %q", got)
	}
	names.most.Store(0)
	for i := range 2 * manyTenants {
		names.label(fmt.Sprint("more-", i))
	}
	if n := len(*names.named.Load()); n != manyTenants {
		t.Errorf("%d have a name where nobody said how many", n)
	}
}

// What many tiny answers cost adds up to the nano-dollar, which a float would not.
func TestMoneyIsExact(t *testing.T) {
	v := &moneyVec{desc: prometheus.NewDesc("m", "", []string{"a", "b", "c"}, nil), sums: map[[3]string]*money{}}
	const answers, cost = 1_000_000, wire.Money(1_234_567)
	var drifting float64
	v.of("", "", "").add(9_007_199 * 1e9)
	drifting += 9_007_199
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			m := v.of("", "", "")
			for range answers / 4 {
				m.add(cost)
			}
		})
	}
	wg.Wait()
	for range answers {
		drifting += float64(cost) / 1e9
	}
	const want = 9_007_199*1e9 + answers*int64(cost)
	if got := v.of("", "", "").nano.Load(); got != want {
		t.Errorf("%d nano-dollars, want %d", got, want)
	}
	if math.Abs(drifting-float64(want)/1e9) < 1e-9 {
		t.Error("a float would have done")
	}
	v.of("", "", "").add(-5)
	out := make(chan prometheus.Metric, 1)
	v.Collect(out)
	var m dto.Metric
	if err := (<-out).Write(&m); err != nil || m.GetCounter().GetValue() != float64(want)/1e9 {
		t.Errorf("%v %v", m.GetCounter(), err)
	}
}

// An answered request is counted under its call, tenant, model and provider, in histograms of both kinds, and its trace is an
// example of how long it took.
func TestAccount(t *testing.T) {
	x := exchangeOf(t, policy.Limits{})
	x.g.metrics = []*lazyTarget{{target: x.target}}
	const id = "0af7651916cd43dd8448eb211c80319c"
	x.trail = &trail{kept: true}
	copy(x.trail.hex[:], id)
	x.tally = tally{came: true, known: true, answer: wire.Usage{Prompt: 70, Completion: 40, CachedPrompt: 64, Reasoning: 7}, paid: 12_345, wasted: 45}
	x.start = time.Now()
	read := func() map[string]float64 {
		now := map[string]float64{}
		for _, name := range []string{"jarvis_requests_total", "jarvis_tokens_total", "jarvis_cost_usd_total"} {
			for labels, m := range series(t, name) {
				now[name+" "+labels] = m.GetCounter().GetValue()
			}
		}
		return now
	}
	before := read()
	x.account(x.start.Add(3 * time.Second))
	const target = "model=chat provider=p tenant=acme"
	for name, want := range map[string]float64{
		"jarvis_requests_total endpoint=chat model=chat outcome=ok provider=p tenant=acme": 1,
		"jarvis_tokens_total kind=prompt " + target:                                        70,
		"jarvis_tokens_total kind=completion " + target:                                    40,
		"jarvis_tokens_total kind=cached " + target:                                        64,
		"jarvis_tokens_total kind=reasoning " + target:                                     7,
		"jarvis_cost_usd_total " + target:                                                  0.000012345,
	} {
		if got := read()[name] - before[name]; math.Abs(got-want) > 1e-15 {
			t.Errorf("%s grew by %v, want %v", name, got, want)
		}
	}
	for name, labels := range map[string]string{"jarvis_request_duration_seconds": "endpoint=chat model=chat provider=p", "jarvis_tenant_request_duration_seconds": "tenant=acme"} {
		h := series(t, name)[labels].GetHistogram()
		if len(h.GetBucket()) == 0 || len(h.GetPositiveSpan()) == 0 {
			t.Errorf("%s has not both kinds of buckets: %v", name, h)
		}
		if shown := slices.ContainsFunc(h.GetBucket(), func(b *dto.Bucket) bool {
			return b.GetUpperBound() == 5 && b.GetExemplar().GetValue() == 3 && b.GetExemplar().GetLabel()[0].GetValue() == id
		}); shown != (name == "jarvis_request_duration_seconds") {
			t.Errorf("%s has an exemplar: %t: %v", name, shown, h)
		}
	}
	if text := exposed(t, "application/openmetrics-text"); !strings.Contains(text, `# {trace_id="`+id+`"} 3.0`) {
		t.Error("the exemplar is not shown to those who ask for OpenMetrics")
	}
	if text := exposed(t, "text/plain"); strings.Contains(text, id) {
		t.Error("a trace is shown to those who cannot read it")
	}
}

func exposed(t *testing.T, accept string) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(Metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, r)
	return w.Body.String()
}

// Of tenants without a name the share that is highest counts; those with one and the gateway stand by themselves.
func TestBudgetsInMetrics(t *testing.T) {
	x := exchangeOf(t, policy.Limits{Spend: policy.Spends{{Amount: 1000, Per: "month"}}, Requests: policy.Rates{{Amount: 5, Per: "d"}}})
	limiting.Store(x.g.Gate)
	defer limiting.Store(nil)
	tenants.label("acme")
	x.grant = &policy.Grant{}
	if err := x.g.Gate.Admit(x.caller, &policy.Ask{Model: "chat", Free: true}, x.grant); err != nil {
		t.Fatal(err)
	}
	x.grant.Settle(wire.Usage{}, 0, false)
	got := series(t, "jarvis_budget_used_ratio")
	if len(got) != 1 || got["budget=spend 0.000001/month team= tenant=acme"].GetGauge().GetValue() != 0 {
		t.Errorf("%v", got)
	}
	if w := series(t, "jarvis_queue_waiting"); w[""].GetGauge().GetValue() != 0 || len(w) != 1 {
		t.Errorf("%v", w)
	}
}

// A refusal is counted under what the limit that was short counts; what a provider refuses is not.
func TestLimitRefusalsInMetrics(t *testing.T) {
	x := exchangeOf(t, policy.Limits{Requests: policy.Rates{{Amount: 1, Per: "d"}}})
	ask := func() error {
		x.grant = &policy.Grant{}
		return x.g.Gate.Admit(x.caller, &policy.Ask{Model: "chat"}, x.grant)
	}
	const labels = "tenant=acme unit=requests"
	before := series(t, "jarvis_limit_refusals_total")[labels].GetCounter().GetValue()
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	x.refusedBy(&wire.Error{Status: 429, Code: "upstream_rate_limited"})
	x.refusedBy(fault(ask()))
	x.refusedBy(&wire.Error{Status: 429, Code: "upstream_rate_limited"})
	x.refusedBy(nil)
	if n := series(t, "jarvis_limit_refusals_total")[labels].GetCounter().GetValue() - before; n != 1 {
		t.Errorf("grew by %v", n)
	}
}

// Without a spool there is nothing to tell; with one, what was written is what was delivered, dropped and waits.
func TestSpoolInMetrics(t *testing.T) {
	read := func(name string) float64 {
		m := series(t, "jarvis_usage_"+name)[""]
		return m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	if got := series(t, "jarvis_usage_emitted_total"); len(got) != 0 {
		t.Errorf("%v without a spool", got)
	}
	log, err := spool.Open(spool.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close(context.Background())
	Spool.Store(log)
	defer Spool.Store(nil)
	for range 3 {
		if err := log.Add([]byte("a record")); err != nil {
			t.Fatal(err)
		}
	}
	if read("emitted_total") != 3 || read("spooled") != 3 || read("delivered_total")+read("dropped_total")+read("cut_total")+read("delivery_failures_total") != 0 || read("spool_bytes") <= 0 || read("oldest_seconds") > 60 {
		t.Errorf("%v", series(t, "jarvis_usage_spooled"))
	}
}

// Counting a request allocates nothing, whoever's it is, unless a trace is to be told.
func TestAccountDoesNotAllocate(t *testing.T) {
	x := exchangeOf(t, policy.Limits{})
	x.g.metrics = []*lazyTarget{{target: x.target}}
	x.tally = tally{came: true, known: true, answer: wire.Usage{Prompt: 70, Completion: 40, CachedPrompt: 64}, paid: 12_345}
	x.start = time.Now()
	end := x.start.Add(3 * time.Second)
	if n := testing.AllocsPerRun(100, func() { x.account(end) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
