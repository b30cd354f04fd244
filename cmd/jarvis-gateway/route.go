package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"

	"jarvis-gateway/policy"
	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/admin"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// routing is what `route` was asked for.
type routing struct {
	client
	explain  bool
	replay   string // the trace's file
	config   string // "": the gateway that runs
	asks     admin.Question
	model    string
	headers  []string
	simulate simulation
}

const aboutRoute = `Tell what becomes of requests, without sending any.

With --explain it shows for one request, read from a file or from standard input, whether the limits of who asks let it in now,
what his guards would do with it, which model and which targets would be asked, in which order, and why. It asks a gateway that
runs, through its private port (server.admin), or builds a configuration (-c) by itself, whose targets and limits are then all
fresh. Nothing is held or counted, and guards that ask a server of yours do not.

With --replay it runs a trace against a configuration (-c) by a clock of its own, and shows what each target would get, what each
tenant would spend, and which limits and guards would refuse, downgrade, hold up or mask how many of his requests. A trace is
lines of JSON with at (seconds), model, tenant, key, user, prompt_tokens or body, completion_tokens, hash_ids and stream; also
such with timestamp (milliseconds), input_length, output_length and hash_ids; or CSV with TIMESTAMP, ContextTokens and
GeneratedTokens. Limits count in memory, from nothing, by the trace's dates, or, where it has none, from the beginning of a month
on. Who waits for a limit is served in the order of arrival. Guards look at requests that have a body, without asking servers of
yours; of others, and of answers, they know nothing. Hedges and the health of replicas are left out.`

func routeCommand() *cobra.Command {
	r := &routing{}
	c := &cobra.Command{
		Use: "route [REQUEST.json]", Short: "Tell what would become of a request, or of a trace of them, without sending any", Long: aboutRoute, Args: cobra.MaximumNArgs(1),
		Example: "  jarvis-gateway route --explain --key acme/main request.json\n  jarvis-gateway route --replay trace.jsonl --model chat -c jarvis.yml",
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case r.explain == (r.replay != ""):
				return errors.New("one of --explain and --replay FILE is needed")
			case r.explain:
				return r.explainOne(c, args)
			case r.config == "":
				return errors.New("--replay needs a configuration: -c FILE")
			case len(args) > 0:
				return errors.New("--replay takes no request, but a trace")
			}
			return r.replayTrace(c)
		},
	}
	r.flags(c)
	f := c.Flags()
	f.BoolVar(&r.explain, "explain", false, "explain one request")
	f.StringVar(&r.replay, "replay", "", "replay a trace from a `FILE`")
	f.StringVarP(&r.config, "config", "c", "", "a configuration's `FILE`, in place of a gateway that runs")
	f.StringVar(&r.model, "model", "", "the model asked for (default: the request's own)")
	f.StringVar(&r.asks.Tenant, "tenant", "", "whose request it is (default: the only tenant)")
	f.StringVar(&r.asks.Key, "key", "", "the `NAME` of the key it comes with, or TENANT/NAME (default: a developer's of the tenant)")
	f.StringVar(&r.asks.User, "user", "", "the end user (default: as the request says)")
	f.StringVar(&r.asks.Endpoint, "endpoint", "", "the endpoint (default chat/completions)")
	f.StringArrayVar(&r.headers, "header", nil, "a header of the request, as `NAME:VALUE`; may be repeated")
	r.simulate.flags(f)
	return c
}

// explainOne explains the request of a file or of standard input.
func (r *routing) explainOne(c *cobra.Command, args []string) error {
	body, err := readRequest(c.InOrStdin(), args)
	if err != nil {
		return err
	}
	if err = r.question(body); err != nil {
		return err
	}
	answer, err := r.answer(c.Context())
	if err != nil || r.json {
		return firstError(err, func() error { return printJSON(c.OutOrStdout(), answer) })
	}
	return printExplanation(c.OutOrStdout(), answer)
}

func readRequest(stdin io.Reader, args []string) ([]byte, error) {
	if len(args) == 0 || args[0] == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(args[0])
}

// question puts together what the flags and the body say.
func (r *routing) question(body []byte) error {
	if !gjson.ValidBytes(body) || !gjson.ParseBytes(body).IsObject() {
		return errors.New("the request is not a JSON object")
	}
	if r.model != "" {
		body = withModel(body, r.model)
	}
	if tenant, key, both := strings.Cut(r.asks.Key, "/"); both {
		if r.asks.Tenant != "" && r.asks.Tenant != tenant {
			return fmt.Errorf("--key is one of %s, --tenant is %s", clip(tenant), clip(r.asks.Tenant))
		}
		r.asks.Tenant, r.asks.Key = tenant, key
	}
	r.asks.Body, r.asks.Headers = body, map[string]string{}
	for _, h := range r.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return fmt.Errorf("--header: %q is no header (expected NAME:VALUE)", clip(h))
		}
		r.asks.Headers[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return nil
}

// withModel is the request for another model, to the byte otherwise: what is known of a prompt's beginning goes by its bytes.
func withModel(body []byte, model string) []byte {
	out := wire.AppendString([]byte(`{"model":`), model)
	gjson.ParseBytes(body).ForEach(func(key, value gjson.Result) bool {
		if key.String() != "model" {
			out = append(append(append(append(out, ','), key.Raw...), ':'), value.Raw...)
		}
		return true
	})
	return append(out, '}')
}

// answer is the gateway's, or that of a configuration.
func (r *routing) answer(ctx context.Context) (gjson.Result, error) {
	if r.config == "" {
		return r.call(ctx, http.MethodPost, "/route/explain", asked(r.asks))
	}
	g, end, err := offline(r.config, time.Now)
	if err != nil {
		return gjson.Result{}, err
	}
	defer end()
	g.Router.Simulate(time.Now(), r.simulate.seed) // what is left to chance is the same each time
	e, err := g.Explain(ofGateway(r.asks))
	if err != nil {
		return gjson.Result{}, plainly(err)
	}
	raw, err := json.Marshal(e)
	return gjson.ParseBytes(raw), err
}

// plainly is an error as a client would be told it.
func plainly(err error) error {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return errors.New(e.Message)
	}
	return err
}

// asked is the question as it is sent, with the request's body as it is.
func asked(q admin.Question) []byte {
	body := q.Body
	q.Body = nil
	raw, _ := json.Marshal(q) // strings cannot fail
	return append(append(bytes.TrimSuffix(raw, []byte(`null}`)), body...), '}')
}

// ofGateway is the question as the gateway knows it.
func ofGateway(q admin.Question) proxy.Question {
	return proxy.Question{Tenant: q.Tenant, Key: q.Key, User: q.User, Endpoint: q.Endpoint, Headers: q.Headers, Body: q.Body}
}

// offline makes a gateway of a configuration that serves nobody. Its limits count by a clock, in memory, and nobody is alerted of them.
func offline(path string, now func() time.Time) (g *proxy.Gateway, end func(), err error) {
	conf, err := newSource(path).load()
	if err != nil {
		return nil, nil, err
	}
	conf.Auth.JWT = nil // whose keys it would fetch
	counters, err := counter.Open(counter.Options{URL: "memory", Now: now})
	if err != nil {
		return nil, nil, err
	}
	p, err := build(&conf.Config, nil, policy.Setup{Counters: counters}, router.Setup{})
	if err != nil {
		return nil, nil, errors.Join(conf.explain(err), counters.Close())
	}
	end = func() {
		p.retire(&parts{})
		_ = counters.Close() // what was counted is for nobody
	}
	g = proxy.NewGateway(p.gate, p.router, p.clients, p.prices)
	g.Prompts = p.prompts
	g.Flows = p.flows
	g.Retrieval = p.retrieval
	return g, end, nil
}

// printExplanation prints it for people.
func printExplanation(out io.Writer, e gjson.Result) error {
	q := e.Get("request")
	fmt.Fprintf(out, "%s, asked for by %s\n", oneLine(e.Get("asked").String()), oneLine(asker(q)))
	fmt.Fprintf(out, "%s\n", oneLine(contents(q, e.Get("prompt").String())))
	if list := e.Get("branches").Array(); len(list) > 0 {
		fmt.Fprintln(out, "\nWhat may lead to another model:")
		var rows [][]string
		for _, b := range list {
			rows = append(rows, []string{b.Get("kind").String(), b.Get("from").String() + " -> " + b.Get("to").String(), map[bool]string{true: "taken", false: "not taken"}[b.Get("taken").Bool()], b.Get("why").String()})
		}
		if err := table(out, "KIND WAY TAKEN WHY", rows); err != nil {
			return err
		}
	}
	if err := printRetrieved(out, e.Get("retrieved")); err != nil {
		return err
	}
	if err := printAdmission(out, e); err != nil {
		return err
	}
	for _, route := range e.Get("routes").Array() {
		if err := printExplainedRoute(out, route, stopped(e)); err != nil {
			return err
		}
	}
	return nil
}

func asker(q gjson.Result) string {
	text := q.Get("tenant").String() + "/" + q.Get("key").String() + " (" + q.Get("role").String()
	for _, name := range []string{"team", "user", "scene"} {
		if v := q.Get(name).String(); v != "" {
			text += ", " + name + " " + v
		}
	}
	if tags := q.Get("tags").Array(); len(tags) > 0 {
		text += ", tags " + brief(q.Get("tags"))
	}
	return strings.Replace(text, "/ (", " (", 1) + ")"
}

// contents says what is in the request.
func contents(q gjson.Result, prompt string) string {
	text := fmt.Sprintf("a prompt of about %d tokens", q.Get("tokens").Int())
	if n := q.Get("max_tokens").Int(); n > 0 {
		text += fmt.Sprintf(", an answer of %d at most", n)
	}
	text += ", with " + brief(q.Get("holds"))
	if q.Get("stream").Bool() {
		text += ", as a stream"
	}
	if prompt != "" {
		text += ", behind the template " + prompt
	}
	return text + fmt.Sprintf("; %.3g%% of the tightest budget is spent", 100*q.Get("spent").Float())
}

func printExplainedRoute(out io.Writer, r gjson.Result, stopped bool) error {
	what := "\nIt is served by "
	switch {
	case r.Get("fallback").Bool():
		what = "\nIf none of these answers, by "
	case stopped:
		what = "\nIf it came so far, it would be served by "
	}
	fmt.Fprintf(out, "%s%s, pick: %s%s:\n", what, oneLine(r.Get("model").String()), r.Get("pick").String(), moreAttempts(r))
	if kept := r.Get("cache").String(); kept != "" && !r.Get("fallback").Bool() {
		fmt.Fprintf(out, "unless the cache has the answer, which it keeps for %s\n", kept)
	}
	if why := r.Get("refused").String(); why != "" {
		fmt.Fprintf(out, "not now: %s\n", why)
	}
	var rows, replicas [][]string
	for _, t := range r.Get("targets").Array() {
		name := t.Get("provider").String() + "/" + t.Get("served").String()
		rows = append(rows, []string{whenAsked(t.Get("order").Int()), name, chance(t), nanoDollars(t.Get("price_nano_usd").Int()), t.Get("state").String(), t.Get("in_flight").String(),
			milliseconds(t.Get("first_token_expected_ms")), t.Get("why").String()})
		for _, at := range t.Get("replicas").Array() {
			replicas = append(replicas, []string{name, at.Get("replica").String(), at.Get("state").String(), at.Get("held_blocks").String(), fmt.Sprintf("%.3g", at.Get("queue").Float()),
				map[bool]string{true: "chosen"}[at.Get("chosen").Bool()]})
		}
	}
	if err := table(out, "ORDER TARGET CHANCE PRICE STATE BUSY FIRST WHY", rows); err != nil || len(replicas) == 0 {
		return err
	}
	return table(out, "TARGET REPLICA STATE HELD QUEUE CHOSEN", replicas)
}

func moreAttempts(r gjson.Result) (text string) {
	if kept := r.Get("cache").String(); kept != "" {
		text = ", or from the cache, which keeps answers for " + kept
	}
	if n := r.Get("attempts").Int(); n > 1 {
		text += fmt.Sprintf(", up to %d times each after %s (%d retries left)", n, r.Get("backoff").String(), r.Get("retries_left").Int())
	}
	switch after := r.Get("hedge_after").String(); {
	case after == "":
	case strings.HasPrefix(after, "not yet"):
		text += ", a second one beside it " + after
	default:
		text += fmt.Sprintf(", a second one beside it after %s (%d left)", after, r.Get("hedges_left").Int())
	}
	return text
}

// whenAsked is when a target is asked: 1 first, nothing for never.
func whenAsked(order int64) string {
	if order == 0 {
		return ""
	}
	return strconv.FormatInt(order, 10)
}

func chance(t gjson.Result) string {
	if t.Get("order").Int() == 0 {
		return ""
	}
	return fmt.Sprintf("%.4g%%", 100*t.Get("chance").Float())
}

func nanoDollars(n int64) string {
	if n < 0 {
		return ""
	}
	return fmt.Sprintf("$%.6g", float64(n)/1e9)
}
