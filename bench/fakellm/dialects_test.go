package fakellm

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

func TestAzure(t *testing.T) {
	s := start(t, Options{Kind: Azure, APIKey: "k"})
	key := "api-key: k"
	path := "/openai/deployments/gpt%2D5/chat/completions?api-version=2024-10-21"
	noModel := `{"messages":[{"role":"user","content":"hi"}]}`
	got := post(t, s, path, noModel, key)
	want(t, "status", got.status, 200)
	want(t, "model", got.get("model").Str, "gpt-5")
	want(t, "prompt filter", got.get("prompt_filter_results.0.content_filter_results.jailbreak.detected").Exists(), true)
	want(t, "choice filter", got.get("choices.0.content_filter_results.hate.severity").Str, "safe")
	want(t, "region", got.header.Get("x-ms-region"), "East US")
	events := post(t, s, path, `{"messages":[{"role":"user","content":"hi"}],"stream":true}`, key).events()
	want(t, "first choices", gjson.Get(events[0], "choices").Raw, "[]")
	want(t, "first filter", gjson.Get(events[0], "prompt_filter_results").Exists(), true)
	want(t, "keys in Azure's order", strings.HasPrefix(events[1], `{"choices":[`), true)
	want(t, "filters of a delta", gjson.Get(events[2], "choices.0.content_filter_results.violence.filtered").Exists(), true)

	for path, code := range map[string]string{
		"/openai/deployments/gpt-5/chat/completions":                            "404",
		"/openai/deployments/unknown-x/chat/completions?api-version=2024-10-21": "DeploymentNotFound",
		"/v1/chat/completions":                           "404",
		"/openai/deployments/d/nothing?api-version=2024": "404",
	} {
		got := post(t, s, path, noModel, key)
		want(t, path, got.status, 404)
		want(t, path, got.get("error.code").Str, code)
	}
	want(t, "v1", post(t, s, "/openai/v1/chat/completions", chatBody("gpt-5", ""), "authorization: Bearer k").get("model").Str, "gpt-5")
	want(t, "v1 without model", post(t, s, "/openai/v1/chat/completions", noModel, key).status, 400)
	want(t, "responses", post(t, s, "/openai/v1/responses", `{"model":"gpt-5","input":"hi"}`, key).get("status").Str, "completed")
	want(t, "plan in the deployment", post(t, s, "/openai/deployments/d%3Fstatus=429&retry_after=3/chat/completions?api-version=1", noModel, key).header.Get("retry-after"), "3")
	want(t, "plan in the model", post(t, s, path, chatBody("x?tokens=2", ""), key).get("usage.completion_tokens").Int(), 2)
}

func TestVLLM(t *testing.T) {
	s := start(t, Options{Kind: VLLM, Models: []string{"Qwen/Qwen3-0.6B"}})
	model := "Qwen/Qwen3-0.6B"
	got := post(t, s, "/v1/chat/completions", chatBody(model+"?reasoning=2", `,"guided_json":{},"prompt_logprobs":1,"kv_transfer_params":{"do_remote_decode":true},"return_token_ids":true`))
	want(t, "status", got.status, 200)
	want(t, "stop reason", got.get("choices.0.stop_reason").Raw, "null")
	want(t, "reasoning", len(strings.Fields(got.get("choices.0.message.reasoning_content").Str)), 2)
	want(t, "prompt logprobs", got.get("prompt_logprobs.1.1000.rank").Int(), 1)
	want(t, "transfer", got.get("kv_transfer_params").Raw, `{"do_remote_decode":true}`)
	want(t, "token ids", got.get("prompt_token_ids.#").Int(), 6)
	want(t, "prompt details", got.get("usage.prompt_tokens_details").Raw, "null")

	events := post(t, s, "/v1/chat/completions", chatBody(model+"?tokens=3", `,"stream":true,"stream_options":{"continuous_usage_stats":true}`)).events()
	want(t, "running usage", gjson.Get(events[2], "usage.completion_tokens").Int(), 2)
	want(t, "usage by default", gjson.Get(events[5], "usage.completion_tokens").Int(), 3)
	want(t, "events", len(events), 7)

	missing := post(t, s, "/v1/chat/completions", chatBody("other", ""))
	want(t, "code", missing.get("error.code").Int(), 404)
	want(t, "type", missing.get("error.type").Str, "NotFoundError")
	want(t, "max_model_len", do(t, s, "GET", "/v1/models", "").get("data.0.max_model_len").Int(), 32768)
	want(t, "health", do(t, s, "GET", "/health", "").status, 200)
	want(t, "tokenize", post(t, s, "/tokenize", `{"model":"x","prompt":"12345678"}`).get("count").Int(), 2)
}

func TestVLLMErrors(t *testing.T) {
	for flat, path := range map[bool]string{true: "code", false: "error.code"} {
		s := start(t, Options{Kind: VLLM, FlatErrors: flat})
		want(t, "whole", post(t, s, "/v1/chat/completions", `{"model":"fake"}`).get(path).Raw, "400")
		events := post(t, s, "/v1/chat/completions", streaming("fake?fault=error-mid")).events()
		want(t, "last", events[len(events)-1], "[DONE]")
		want(t, "code in the stream", gjson.Get(events[len(events)-2], "error.code").Int(), 500)
		want(t, "object in the stream", gjson.Get(events[len(events)-2], "error.object").Exists(), flat)
	}
}

func metric(t *testing.T, s *Server, name string) string {
	t.Helper()
	for line := range strings.SplitSeq(do(t, s, "GET", "/metrics", "").body, "\n") {
		if rest, ok := strings.CutPrefix(line, "vllm:"+name+"{"); ok {
			_, value, _ := strings.Cut(rest, "} ")
			return value
		}
	}
	return ""
}

func TestEngineMetricsFollowItsState(t *testing.T) {
	s := start(t, Options{Kind: VLLM, MaxRunning: 2, Plan: func(seen *Seen) Plan {
		if seen.Stream {
			return Plan{Fault: StallMidStream}
		}
		return Plan{}
	}})
	want(t, "at rest", metric(t, s, "num_requests_running"), "0")
	var held []io.Closer
	for i := range 3 {
		conn := dial(t, s, rawPost("/v1/chat/completions", streaming("fake")))
		held = append(held, conn)
		if i < 2 {
			readUntil(t, conn, 1)
		}
	}
	s.Wait(4, patience)
	eventually(t, func() bool { return metric(t, s, "num_requests_waiting") == "1" })
	want(t, "running", metric(t, s, "num_requests_running"), "2")
	want(t, "kv", metric(t, s, "kv_cache_usage_perc"), "0.00012")
	held[0].Close()
	eventually(t, func() bool { return metric(t, s, "num_requests_waiting") == "0" })
	want(t, "running again", metric(t, s, "num_requests_running"), "2")
	s.ShowLoad(&Load{Running: 40, Waiting: 7, KV: 0.5})
	want(t, "shown", metric(t, s, "num_requests_waiting"), "7")
	s.ShowLoad(nil)
	held[1].Close()
	held[2].Close()
	eventually(t, func() bool { return metric(t, s, "num_requests_running") == "0" })
	post(t, s, "/v1/chat/completions", chatBody("fake?tokens=5", ""))
	want(t, "prompt tokens", metric(t, s, "prompt_tokens_total"), "24")
}

// eventually waits for what follows at once, without knowing when that is.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if holds() {
			return
		}
	}
	t.Fatal("it never came to that")
}

func TestEveryDialectStreamsToAPlainClient(t *testing.T) {
	for kind, path := range map[Kind]string{OpenAI: "/v1/chat/completions", VLLM: "/v1/chat/completions", Azure: "/openai/v1/chat/completions"} {
		s := start(t, Options{Kind: kind})
		res, err := http.Post(s.URL()+path, "application/json", strings.NewReader(streaming("fake")))
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(res.Body)
		res.Body.Close()
		want(t, string(kind), err, nil)
		want(t, string(kind), strings.HasSuffix(string(all), "data: [DONE]\n\n"), true)
		want(t, string(kind), res.Header.Get("content-type"), sseType)
	}
}

func TestPrefixCache(t *testing.T) {
	s := start(t, Options{Kind: VLLM, PrefixBlocks: 100})
	ask := func(last string) int64 {
		body := `{"model":"fake","messages":[{"role":"system","content":"` + strings.Repeat("long instructions ", 20) + `"},{"role":"user","content":"` + last + `"}]}`
		return post(t, s, "/v1/chat/completions", body).get("usage.prompt_tokens_details.cached_tokens").Int()
	}
	want(t, "cold", ask("one"), 0)
	want(t, "same beginning", ask("two"), 96)
	want(t, "metric", metric(t, s, "prefix_cache_hits_total"), "96")
}

func TestPlanAnswersUnknownPaths(t *testing.T) {
	s := start(t, Options{APIKey: "k", Plan: func(seen *Seen) Plan { return Plan{Text: "x", Body: []byte(seen.Model)} }})
	want(t, "answer", post(t, s, "/v1/messages", chatBody("claude", ""), "authorization: Bearer k").body, "claude")
	want(t, "wrong key", post(t, s, "/v1/messages", chatBody("claude", "")).status, 401)
}
