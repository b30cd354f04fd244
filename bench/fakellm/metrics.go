package fakellm

import (
	"fmt"
	"strings"
)

// readMetrics is what vLLM tells Prometheus, with the names of both its older and newer versions.
func readMetrics(x *exchange) (render, *apiError) {
	x.endpoint = "metrics"
	return func(x *exchange) (answer, *apiError) {
		return answer{ctype: "text/plain; version=0.0.4; charset=utf-8", body: x.s.engine.text(x.s.modelLabel())}, nil
	}, nil
}

func (s *Server) modelLabel() string {
	if len(s.o.Models) > 0 {
		return s.o.Models[0]
	}
	return "fake"
}

func (e *engine) text(model string) []byte {
	l := e.load()
	e.mu.Lock()
	defer e.mu.Unlock()
	var b strings.Builder
	metric := func(name, kind, help string, value float64) {
		fmt.Fprintf(&b, "# HELP vllm:%s %s\n# TYPE vllm:%s %s\nvllm:%s{engine=\"0\",model_name=%q} %v\n", name, help, name, kind, name, model, value)
	}
	metric("num_requests_running", "gauge", "Number of requests in model execution batches.", float64(l.Running))
	metric("num_requests_waiting", "gauge", "Number of requests waiting to be processed.", float64(l.Waiting))
	metric("kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.", l.KV)
	metric("gpu_cache_usage_perc", "gauge", "GPU KV-cache usage. 1 means 100 percent usage.", l.KV)
	metric("prefix_cache_queries_total", "counter", "Prefix cache queries, in terms of number of queried tokens.", float64(e.prompt))
	metric("prefix_cache_hits_total", "counter", "Prefix cache hits, in terms of number of cached tokens.", float64(e.hits))
	metric("prompt_tokens_total", "counter", "Number of prefill tokens processed.", float64(e.prompt))
	metric("generation_tokens_total", "counter", "Number of generation tokens processed.", float64(e.generated))
	metric("num_preemptions_total", "counter", "Cumulative number of preemption from the engine.", 0)
	fmt.Fprintf(&b, "# HELP vllm:request_success_total Count of successfully processed requests.\n# TYPE vllm:request_success_total counter\n")
	fmt.Fprintf(&b, "vllm:request_success_total{engine=\"0\",finished_reason=\"stop\",model_name=%q} %d\n", model, e.whole)
	fmt.Fprintf(&b, "vllm:request_success_total{engine=\"0\",finished_reason=\"abort\",model_name=%q} %d\n", model, e.aborted)
	if e.blocks > 0 {
		fmt.Fprintf(&b, "# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig\n# TYPE vllm:cache_config_info gauge\n")
		fmt.Fprintf(&b, "vllm:cache_config_info{block_size=\"%d\",engine=\"0\",num_gpu_blocks=\"%d\"} 1\n", tokensPerBlock, e.blocks)
	}
	return []byte(b.String())
}
