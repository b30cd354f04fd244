package provider

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/router"
)

// What engines of every name tell of themselves comes to the same.
func TestReadEngine(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       router.Scrape
		unknown    bool
	}{
		{name: "vLLM before V1", text: `
# HELP vllm:num_requests_running Number of requests currently running on GPU.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="a"} 3.0
vllm:num_requests_waiting{model_name="a"} 2.0
vllm:num_requests_swapped{model_name="a"} 9.0
vllm:gpu_cache_usage_perc{model_name="a"} 0.25
vllm:cache_config_info{block_size="16",cpu_num_gpu_blocks="7",num_gpu_blocks="2340",num_gpu_blocks_override="None"} 1.0
process_start_time_seconds 1.755178079e+09`, want: router.Scrape{Running: 3, Waiting: 2, KV: 0.25, CacheBlocks: 292, Started: time.Unix(1755178079, 0)}},
		{name: "vLLM V1, two engines", text: `
vllm:num_requests_running{engine="0",model_name="a"} 3
vllm:num_requests_running{engine="1",model_name="a"} 4
vllm:num_requests_waiting{engine="0",model_name="a"} 0
vllm:num_requests_waiting{engine="1",model_name="a"} 1
vllm:kv_cache_usage_perc{engine="0",model_name="a"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="a"} 0.7
vllm:gpu_cache_usage_perc{engine="0",model_name="a"} 0.5
vllm:gpu_cache_usage_perc{engine="1",model_name="a"} 0.7
vllm:cache_config_info{block_size="16",num_gpu_blocks="800"} 1
vllm:cache_config_info{block_size="16",num_gpu_blocks="800"} 1`, want: router.Scrape{Running: 7, Waiting: 1, KV: 0.6, CacheBlocks: 200}},
		{name: "SGLang", text: "sglang:num_running_reqs{model_name=\"a\"} 162.0\nsglang:num_queue_reqs{model_name=\"a\"} 2826.0\nsglang:token_usage{model_name=\"a\"} 0.28\nsglang:max_total_num_tokens 12800",
			want: router.Scrape{Running: 162, Waiting: 2826, KV: 0.28, CacheBlocks: 100}},
		{name: "llama.cpp", text: "llamacpp:requests_processing 2\nllamacpp:requests_deferred 1\nllamacpp:kv_cache_usage_ratio 0.9 1755178079000", want: router.Scrape{Running: 2, Waiting: 1, KV: 0.9}},
		{name: "what makes no sense counts nothing", text: "vllm:num_requests_running NaN\nvllm:num_requests_waiting -3\nvllm:gpu_cache_usage_perc 7\nvllm:num_requests_running{a=\"}\\\"} 5\nvllm:num_requests_running\nvllm:num_requests_running +Inf",
			want: router.Scrape{KV: 1}},
		{name: "a brace in a label", text: `vllm:num_requests_running{model_name="a}\" 9"} 4`, want: router.Scrape{Running: 4}},
		{name: "no engine", text: "process_start_time_seconds 5\nup 1\n", want: router.Scrape{Started: time.Unix(5, 0)}, unknown: true},
		{name: "nothing", unknown: true},
	} {
		got, known := readEngine([]byte(c.text))
		if got.Running != c.want.Running || got.Waiting != c.want.Waiting || got.KV < c.want.KV-1e-9 || got.KV > c.want.KV+1e-9 ||
			got.CacheBlocks != c.want.CacheBlocks || !got.Started.Equal(c.want.Started) || known == c.unknown {
			t.Errorf("%s: %+v %v, want %+v", c.name, got, known, c.want)
		}
	}
}

// Pages of real servers.
func TestReadRealEngines(t *testing.T) {
	folder := filepath.Join(cmp.Or(os.Getenv("JARVIS_SHARED"), filepath.Join("..", "..", "..", "shared")), "data", "engine-metrics")
	for name, want := range map[string]router.Scrape{
		"vllm_v0.10_qwen3.prom": {CacheBlocks: 292}, "sglang_llama31.prom": {Running: 162, Waiting: 2826, KV: 0.28},
	} {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Skipf("no pages of engines: %v (JARVIS_SHARED names the folder that holds data/)", err)
		}
		got, known := readEngine(text)
		if !known || got.Running != want.Running || got.Waiting != want.Waiting || got.KV != want.KV || got.CacheBlocks != want.CacheBlocks {
			t.Errorf("%s: %+v %v", name, got, known)
		}
	}
}

func FuzzReadEngine(f *testing.F) {
	f.Add([]byte("vllm:num_requests_running{engine=\"0\"} 3\nvllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"9\"} 1\n"))
	f.Add([]byte("sglang:token_usage{a=\"\\\"}\"} 1e300\n# x\nprocess_start_time_seconds 1e18"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, known := readEngine(text)
		if s.Running < 0 || s.Waiting < 0 || s.CacheBlocks < 0 || !(s.KV >= 0 && s.KV <= 1) {
			t.Errorf("%+v", s)
		}
		again, still := readEngine([]byte("# a comment\n" + string(text) + "\n\n"))
		if again.Running != s.Running || again.KV != s.KV || known != still {
			t.Errorf("with comments: %+v, without: %+v", again, s)
		}
	})
}

func FuzzReplicaList(f *testing.F) {
	f.Add("# all\nhttp://a:8000 # one\n\n https://b/v1\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := replicaList([]byte(text))
		if (err == nil) != (len(list) > 0) {
			t.Fatalf("%v %v", list, err)
		}
		for _, s := range list {
			if _, err := baseURL(s); err != nil {
				t.Errorf("%q is in the list: %v", s, err)
			}
		}
		again, err := replicaList([]byte(strings.Join(list, "\n")))
		if len(list) > 0 && (err != nil || len(again) != len(list)) {
			t.Errorf("%v %v, then %v", list, again, err)
		}
	})
}

func BenchmarkReadEngine(b *testing.B) {
	text := []byte(strings.Repeat("vllm:time_to_first_token_seconds_bucket{le=\"0.5\",model_name=\"Qwen/Qwen3-0.6B\"} 0.0\n", 500) +
		"vllm:num_requests_running{model_name=\"a\"} 3.0\n")
	for b.Loop() {
		readEngine(text)
	}
}
