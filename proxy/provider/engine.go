package provider

import (
	"bytes"
	"math"
	"strconv"
	"time"

	"jarvis-gateway/router"
)

// engineMetrics are what inference engines tell Prometheus of their load, under whatever name. Newer versions of vLLM renamed
// some, SGLang and llama.cpp have names of their own.
var engineMetrics = map[string]engineMetric{
	"vllm:num_requests_running":   {running, 0},
	"vllm:num_requests_waiting":   {waiting, 0},
	"vllm:kv_cache_usage_perc":    {cacheUse, 0},
	"vllm:gpu_cache_usage_perc":   {cacheUse, 1},
	"vllm:cache_config_info":      {cacheConfig, 0},
	"sglang:num_running_reqs":     {running, 0},
	"sglang:num_queue_reqs":       {waiting, 0},
	"sglang:token_usage":          {cacheUse, 2},
	"sglang:max_total_num_tokens": {cacheTokens, 0},

	"llamacpp:requests_processing":  {running, 0},
	"llamacpp:requests_deferred":    {waiting, 0},
	"llamacpp:kv_cache_usage_ratio": {cacheUse, 3},
	"process_start_time_seconds":    {started, 0},
}

type engineMetric struct {
	of  engineValue
	nth int // of several names for the same
}

type engineValue uint8

const (
	running engineValue = iota
	waiting
	cacheUse
	cacheConfig
	cacheTokens
	started
)

// engineLoad is what the metrics of one server say so far.
type engineLoad struct {
	known                    bool // some of the names were there
	running, waiting, tokens float64
	use                      [4]struct{ sum, n float64 } // by name: some servers tell the same under two
	started                  float64
}

// readEngine reads a server's metrics in Prometheus's text form. What several engines of a server, or several models, tell is
// summed up; of the use of their caches it is the mean. ok is false where no name is known.
func readEngine(text []byte) (s router.Scrape, ok bool) {
	var l engineLoad
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		if len(line) > 0 && line[0] != '#' {
			l.line(line)
		}
	}
	s.Running, s.Waiting = whole(l.running), whole(l.waiting)
	for _, use := range l.use {
		if use.n > 0 {
			s.KV = max(s.KV, min(use.sum/use.n, 1))
		}
	}
	const bytesPerToken = 4
	s.CacheBlocks = whole(l.tokens * bytesPerToken / router.PrefixBlock)
	if l.started > 0 && l.started < 1<<40 {
		s.Started = time.Unix(int64(l.started), 0)
	}
	return s, l.known
}

// whole is a count, whatever a server says.
func whole(x float64) int { return int(min(max(x, 0), 1<<30)) }

// line reads one sample: a name, labels in braces, a value, and perhaps when that was.
func (l *engineLoad) line(line []byte) {
	name, rest := line, []byte(nil)
	if at := bytes.IndexAny(line, "{ \t"); at >= 0 {
		name, rest = line[:at], line[at:]
	}
	m, known := engineMetrics[string(name)]
	if !known {
		return
	}
	labels, rest, ok := cutLabels(rest)
	if !ok {
		return
	}
	rest = bytes.TrimSpace(rest)
	if end := bytes.IndexAny(rest, " \t"); end >= 0 {
		rest = rest[:end]
	}
	value, err := strconv.ParseFloat(string(rest), 64)
	if err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	l.take(m, value, labels)
}

func (l *engineLoad) take(m engineMetric, value float64, labels []byte) {
	l.known = l.known || m.of != started
	switch value = max(value, 0); m.of {
	case running:
		l.running += value
	case waiting:
		l.waiting += value
	case cacheUse:
		l.use[m.nth].sum += value
		l.use[m.nth].n++
	case cacheConfig:
		l.tokens += number(labels, "num_gpu_blocks") * number(labels, "block_size")
	case cacheTokens:
		l.tokens += value
	case started:
		l.started = max(l.started, value)
	}
}

// cutLabels cuts {a="b",...} off. A brace in a label's value is not the end.
func cutLabels(b []byte) (labels, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '{' {
		return nil, b, true
	}
	quoted := false
	for i := 1; i < len(b); i++ {
		switch {
		case quoted && b[i] == '\\':
			i++
		case b[i] == '"':
			quoted = !quoted
		case b[i] == '}' && !quoted:
			return b[1:i], b[i+1:], true
		}
	}
	return nil, nil, false
}

// number reads a label that is one; 0 where it is missing or none.
func number(labels []byte, name string) float64 {
	for len(labels) > 0 {
		at := bytes.Index(labels, []byte(name+`="`))
		if at < 0 {
			return 0
		}
		value := labels[at+len(name)+2:]
		if at > 0 && labels[at-1] != ',' && labels[at-1] != ' ' {
			labels = value // the end of a longer name
			continue
		}
		text, _, _ := bytes.Cut(value, []byte{'"'})
		n, err := strconv.ParseFloat(string(text), 64)
		if err != nil || !(n >= 0 && n < 1<<40) {
			return 0
		}
		return n
	}
	return 0
}
