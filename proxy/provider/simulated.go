package provider

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"net"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"jarvis-gateway/proxy/wire"
)

// The simulated provider lets a first run serve without any account: a server inside the process, spoken to over the
// same connections, dialect and streams as a real one. It repeats what it is told.

// simulate starts the server and makes the client's connections lead to it.
func (c *Client) simulate() {
	ln := fasthttputil.NewInmemoryListener()
	srv := &fasthttp.Server{Handler: simulated, NoDefaultServerHeader: true, MaxRequestBodySize: maxAnswer, DisablePreParseMultipartForm: true, Logger: silent{}}
	go func() { _ = srv.Serve(ln) }() // ends with the listener
	c.hosts[0].pool.DialTimeout = func(string, time.Duration) (net.Conn, error) {
		conn, err := ln.Dial()
		if err != nil {
			return nil, &dialError{err}
		}
		return &upstreamConn{Conn: conn, socket: conn}, nil
	}
	c.stop = func() { _ = ln.Close() }
}

// silent drops fasthttp's words on connections that end, which here are the gateway's own.
type silent struct{}

func (silent) Printf(string, ...any) {}

const simulatedModel = "simulated"

func simulated(ctx *fasthttp.RequestCtx) {
	body := gjson.ParseBytes(ctx.Request.Body())
	model := body.Get("model").String()
	switch strings.TrimPrefix(string(ctx.Path()), "/v1") {
	case "/chat/completions":
		simulatedChat(ctx, model, body)
	case "/completions":
		simulatedCompletion(ctx, model, body)
	case "/responses":
		simulatedResponse(ctx, model, body)
	case "/embeddings":
		simulatedEmbeddings(ctx, model, body)
	case "/moderations":
		simulatedJSON(ctx, map[string]any{"id": "modr-simulated", "model": model, "results": []any{map[string]any{"flagged": false, "categories": map[string]bool{}, "category_scores": map[string]float64{}}}})
	case "/models":
		simulatedJSON(ctx, map[string]any{"object": "list", "data": []any{map[string]any{"id": simulatedModel, "object": "model", "created": 1700000000, "owned_by": "jarvis-gateway"}}})
	default:
		ctx.SetStatusCode(fasthttp.StatusNotFound)
		simulatedJSON(ctx, map[string]any{"error": map[string]any{"type": wire.TypeInvalid, "param": nil, "code": "unknown_url",
			"message": "The simulated provider has chat/completions, completions, responses, embeddings, moderations and models only. Configure a real provider for this call."}})
	}
}

func simulatedJSON(ctx *fasthttp.RequestCtx, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	ctx.SetContentType("application/json")
	ctx.SetBody(b)
}

// simulatedText is what the simulated provider has to say.
func simulatedText(prompt string) string {
	const most = 2000
	if r := []rune(prompt); len(r) > most {
		prompt = string(r[:most]) + "..."
	}
	return "This is the simulated provider of jarvis-gateway: it works without an account and repeats what it is told. 你说的是 / You said: " + prompt
}

// simulatedTokens counts a token per four bytes: plausible, and the same each time.
func simulatedTokens(s string) int { return (len(s) + 3) / 4 }

func lastText(body gjson.Result) string {
	b, err := wire.Parse([]byte(body.Raw))
	if err != nil {
		return ""
	}
	return b.LastUserText()
}

func usageOf(in, out string, names ...string) map[string]any {
	p, c := simulatedTokens(in), simulatedTokens(out)
	return map[string]any{names[0]: p, names[1]: c, "total_tokens": p + c}
}

func simulatedChat(ctx *fasthttp.RequestCtx, model string, body gjson.Result) {
	text := simulatedText(lastText(body))
	usage := usageOf(body.Get("messages").Raw, text, "prompt_tokens", "completion_tokens")
	chunk := func(choices []any, usage any) map[string]any {
		return map[string]any{"id": "chatcmpl-simulated", "object": "chat.completion.chunk", "created": time.Now().Unix(), "model": model, "choices": choices, "usage": usage}
	}
	choice := func(delta map[string]any, reason any) []any {
		return []any{map[string]any{"index": 0, "delta": delta, "finish_reason": reason}}
	}
	if !body.Get("stream").Bool() {
		simulatedJSON(ctx, map[string]any{"id": "chatcmpl-simulated", "object": "chat.completion", "created": time.Now().Unix(), "model": model, "usage": usage,
			"choices": []any{map[string]any{"index": 0, "finish_reason": "stop", "logprobs": nil, "message": map[string]any{"role": "assistant", "content": text, "refusal": nil}}}})
		return
	}
	events := []string{event("", chunk(choice(map[string]any{"role": "assistant", "content": ""}, nil), nil))}
	for _, piece := range pieces(text) {
		events = append(events, event("", chunk(choice(map[string]any{"content": piece}, nil), nil)))
	}
	events = append(events, event("", chunk(choice(map[string]any{}, "stop"), nil)))
	if body.Get("stream_options.include_usage").Bool() {
		events = append(events, event("", chunk([]any{}, usage)))
	}
	simulatedStream(ctx, append(events, "data: [DONE]\n\n"))
}

func simulatedCompletion(ctx *fasthttp.RequestCtx, model string, body gjson.Result) {
	prompt := body.Get("prompt").String()
	text := simulatedText(prompt)
	usage := usageOf(prompt, text, "prompt_tokens", "completion_tokens")
	answer := func(text string, reason, usage any) map[string]any {
		return map[string]any{"id": "cmpl-simulated", "object": "text_completion", "created": time.Now().Unix(), "model": model, "usage": usage,
			"choices": []any{map[string]any{"index": 0, "text": text, "logprobs": nil, "finish_reason": reason}}}
	}
	if !body.Get("stream").Bool() {
		simulatedJSON(ctx, answer(text, "stop", usage))
		return
	}
	var events []string
	for _, piece := range pieces(text) {
		events = append(events, event("", answer(piece, nil, nil)))
	}
	events = append(events, event("", answer("", "stop", nil)))
	if body.Get("stream_options.include_usage").Bool() {
		last := answer("", nil, usage)
		last["choices"] = []any{}
		events = append(events, event("", last))
	}
	simulatedStream(ctx, append(events, "data: [DONE]\n\n"))
}

func simulatedResponse(ctx *fasthttp.RequestCtx, model string, body gjson.Result) {
	text := simulatedText(lastText(body))
	part := map[string]any{"type": "output_text", "text": text, "annotations": []any{}}
	item := map[string]any{"type": "message", "id": "msg_simulated", "status": "completed", "role": "assistant", "content": []any{part}}
	response := func(status string, output []any, usage any) map[string]any {
		return map[string]any{"id": "resp_simulated", "object": "response", "created_at": time.Now().Unix(), "status": status, "model": model, "error": nil,
			"incomplete_details": nil, "instructions": nil, "metadata": map[string]any{}, "output": output, "parallel_tool_calls": true, "temperature": 1,
			"tool_choice": "auto", "tools": []any{}, "top_p": 1, "usage": usage}
	}
	usage := usageOf(body.Get("input").Raw, text, "input_tokens", "output_tokens")
	usage["input_tokens_details"], usage["output_tokens_details"] = map[string]any{"cached_tokens": 0}, map[string]any{"reasoning_tokens": 0}
	done := response("completed", []any{item}, usage)
	if !body.Get("stream").Bool() {
		simulatedJSON(ctx, done)
		return
	}
	var events []string
	add := func(kind string, fields map[string]any) {
		fields["type"], fields["sequence_number"] = kind, len(events)
		events = append(events, event(kind, fields))
	}
	at := func(more map[string]any) map[string]any {
		more["item_id"], more["output_index"], more["content_index"] = "msg_simulated", 0, 0
		return more
	}
	add("response.created", map[string]any{"response": response("in_progress", []any{}, nil)})
	add("response.in_progress", map[string]any{"response": response("in_progress", []any{}, nil)})
	add("response.output_item.added", map[string]any{"output_index": 0, "item": map[string]any{"type": "message", "id": "msg_simulated", "status": "in_progress", "role": "assistant", "content": []any{}}})
	add("response.content_part.added", at(map[string]any{"part": map[string]any{"type": "output_text", "text": "", "annotations": []any{}}}))
	for _, piece := range pieces(text) {
		add("response.output_text.delta", at(map[string]any{"delta": piece, "logprobs": []any{}}))
	}
	add("response.output_text.done", at(map[string]any{"text": text, "logprobs": []any{}}))
	add("response.content_part.done", at(map[string]any{"part": part}))
	add("response.output_item.done", map[string]any{"output_index": 0, "item": item})
	add("response.completed", map[string]any{"response": done})
	simulatedStream(ctx, events)
}

// simulatedEmbeddings gives each text a vector of its own: unit length, the same each time, without any meaning.
func simulatedEmbeddings(ctx *fasthttp.RequestCtx, model string, body gjson.Result) {
	inputs := []gjson.Result{body.Get("input")}
	if inputs[0].IsArray() && !inputs[0].Get("0").Exists() || inputs[0].Get("0").Type == gjson.String || inputs[0].Get("0").IsArray() {
		inputs = inputs[0].Array()
	}
	dims := int(body.Get("dimensions").Int())
	if dims < 1 || dims > 4096 {
		dims = 256
	}
	total := 0
	data := make([]any, 0, len(inputs))
	for i, in := range inputs {
		total += simulatedTokens(in.Raw)
		vector := simulatedVector(in.Raw, dims)
		var embedding any = vector
		if body.Get("encoding_format").Str == "base64" {
			embedding = packed(vector)
		}
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": embedding})
	}
	simulatedJSON(ctx, map[string]any{"object": "list", "model": model, "data": data, "usage": map[string]any{"prompt_tokens": total, "total_tokens": total}})
}

func simulatedVector(text string, dims int) []float32 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, text) // a hash cannot fail
	state := h.Sum64()
	v := make([]float32, dims)
	var square float64
	for i := range v {
		state = state*6364136223846793005 + 1442695040888963407
		v[i] = float32(int32(state>>32)) / (1 << 31)
		square += float64(v[i]) * float64(v[i])
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(square))
	}
	return v
}

// packed is the little-endian bytes that encoding_format base64 asks for; encoding/json writes them as base64.
func packed(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, f := range v {
		bits := math.Float32bits(f)
		b = append(b, byte(bits), byte(bits>>8), byte(bits>>16), byte(bits>>24))
	}
	return b
}

// pieces cuts text as a model would stream it: after each space, and every few characters where there are none.
func pieces(text string) []string {
	var list []string
	start, runes := 0, 0
	for i, r := range text {
		if runes++; r == ' ' || runes == 12 {
			end := i + len(string(r))
			list = append(list, text[start:end])
			start, runes = end, 0
		}
	}
	if start < len(text) {
		list = append(list, text[start:])
	}
	return list
}

func event(kind string, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	if kind != "" {
		return fmt.Sprintf("event: %s\ndata: %s\n\n", kind, b)
	}
	return fmt.Sprintf("data: %s\n\n", b)
}

func simulatedStream(ctx *fasthttp.RequestCtx, events []string) {
	ctx.SetContentType("text/event-stream")
	ctx.Response.ImmediateHeaderFlush = true
	ctx.SetBodyStream(&slowly{events: events}, -1)
}

// slowly gives an event at a time, at the speed of a fast model.
type slowly struct {
	events []string
	begun  bool
}

func (s *slowly) Read(p []byte) (int, error) {
	if len(s.events) == 0 {
		return 0, io.EOF
	}
	if s.begun {
		time.Sleep(10 * time.Millisecond)
	}
	s.begun = true
	n := copy(p, s.events[0])
	if s.events[0] = s.events[0][n:]; s.events[0] == "" {
		s.events = s.events[1:]
	}
	return n, nil
}
