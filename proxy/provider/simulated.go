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
	"unicode"
	"unicode/utf8"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"jarvis-gateway/proxy/tokens"
	"jarvis-gateway/proxy/wire"
)

// The simulated provider lets a first run serve without any account: a server inside the process, spoken to over the
// same connections, dialect and streams as a real one. It repeats what it is told.

// simulate starts the server and makes the client's connections lead to it.
func (c *Client) simulate() {
	ln := fasthttputil.NewInmemoryListener()
	srv := &fasthttp.Server{Handler: simulated, NoDefaultServerHeader: true, MaxRequestBodySize: maxAnswer, DisablePreParseMultipartForm: true, Logger: silent{}}
	go func() { _ = srv.Serve(ln) }() // ends with the listener
	c.host.pool.DialTimeout = func(string, time.Duration) (net.Conn, error) {
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
	if answers(body) > mostSimulated {
		simulatedFailure(ctx, fasthttp.StatusBadRequest, nil, fmt.Sprintf("The simulated provider gives %d answers at once at most.", mostSimulated))
		return
	}
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
		simulatedFailure(ctx, fasthttp.StatusNotFound, "unknown_url",
			"The simulated provider has chat/completions, completions, responses, embeddings, moderations and models only. Configure a real provider for this call.")
	}
}

func simulatedFailure(ctx *fasthttp.RequestCtx, status int, code any, message string) {
	simulatedJSON(ctx, map[string]any{"error": map[string]any{"type": wire.TypeInvalid, "param": nil, "code": code, "message": message}})
	ctx.SetStatusCode(status)
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

func lastText(body gjson.Result) string {
	b, err := wire.Parse([]byte(body.Raw))
	if err != nil {
		return ""
	}
	return b.LastUserText()
}

// saying is an answer, as far as the request lets it go.
type saying struct {
	pieces []string // as a stream gives them
	tokens int
	cut    bool
}

// say answers a prompt with no more tokens than any of the request's fields allows. Each piece is counted by itself, as it is
// in a stream.
func say(prompt, model string, body gjson.Result, fields ...string) saying {
	most := math.MaxInt
	for _, field := range fields {
		if n := body.Get(field).Int(); n > 0 {
			most = min(most, int(n))
		}
	}
	all, vocabulary, plain := pieces(simulatedText(prompt)), tokens.For(model), 0
	for i, piece := range all {
		n := tokens.Count(piece)
		if vocabulary.Exact() {
			n = vocabulary.Count(piece)
		}
		if vocabulary.Scale(plain+n) > most {
			return saying{all[:i], vocabulary.Scale(plain), true}
		}
		plain += n
	}
	return saying{all, vocabulary.Scale(plain), false}
}

func (s saying) text() string { return strings.Join(s.pieces, "") }

// reason is why a choice ends.
func (s saying) reason() string {
	if s.cut {
		return "length"
	}
	return "stop"
}

// usageOf counts the prompt as the gateway does where it counts.
func usageOf(body gjson.Result, model string, completion int, names ...string) map[string]any {
	prompt := promptOf(body, model)
	return map[string]any{names[0]: prompt, names[1]: completion, "total_tokens": prompt + completion}
}

func promptOf(body gjson.Result, model string) int {
	return tokens.CountRequest([]byte(body.Raw), model)
}

// mostSimulated bounds what is made in memory.
const mostSimulated = 16

// answers is how many a request asks for: each of its prompts is answered n times.
func answers(body gjson.Result) int64 {
	return copies(body) * int64(len(prompts(body)))
}

func copies(body gjson.Result) int64 { return min(max(body.Get("n").Int(), 1), mostSimulated+1) }

// prompts are those of a legacy completion; what else there is has one.
func prompts(body gjson.Result) []gjson.Result {
	prompt := body.Get("prompt")
	if prompt.Get("0").Type == gjson.String {
		return prompt.Array()
	}
	return []gjson.Result{prompt}
}

func simulatedChat(ctx *fasthttp.RequestCtx, model string, body gjson.Result) {
	said, n := say(lastText(body), model, body, "max_tokens", "max_completion_tokens"), int(answers(body))
	usage := usageOf(body, model, n*said.tokens, "prompt_tokens", "completion_tokens")
	answer := func(object string, choices []any, usage any) map[string]any {
		return map[string]any{"id": "chatcmpl-simulated", "object": object, "created": time.Now().Unix(), "model": model, "choices": choices, "usage": usage}
	}
	if !body.Get("stream").Bool() {
		var choices []any
		for i := range n {
			choices = append(choices, map[string]any{"index": i, "finish_reason": said.reason(), "logprobs": nil,
				"message": map[string]any{"role": "assistant", "content": said.text(), "refusal": nil}})
		}
		simulatedJSON(ctx, answer("chat.completion", choices, usage))
		return
	}
	var events []string
	for i := range n {
		add := func(delta map[string]any, reason any) {
			choice := map[string]any{"index": i, "delta": delta, "finish_reason": reason}
			events = append(events, event("", answer("chat.completion.chunk", []any{choice}, nil)))
		}
		add(map[string]any{"role": "assistant", "content": ""}, nil)
		for _, piece := range said.pieces {
			add(map[string]any{"content": piece}, nil)
		}
		add(map[string]any{}, said.reason())
	}
	if body.Get("stream_options.include_usage").Bool() {
		events = append(events, event("", answer("chat.completion.chunk", []any{}, usage)))
	}
	simulatedStream(ctx, append(events, "data: [DONE]\n\n"))
}

// completions are the answers to each of the prompts, as many as are asked for.
func completions(model string, body gjson.Result) (all []saying, total int) {
	for _, prompt := range prompts(body) {
		said := say(prompt.String(), model, body, "max_tokens")
		for range copies(body) {
			all, total = append(all, said), total+said.tokens
		}
	}
	return all, total
}

func simulatedCompletion(ctx *fasthttp.RequestCtx, model string, body gjson.Result) {
	all, total := completions(model, body)
	usage := usageOf(body, model, total, "prompt_tokens", "completion_tokens")
	choice := func(i int, text string, reason any) any {
		return map[string]any{"index": i, "text": text, "logprobs": nil, "finish_reason": reason}
	}
	answer := func(usage any, choices ...any) map[string]any {
		return map[string]any{"id": "cmpl-simulated", "object": "text_completion", "created": time.Now().Unix(), "model": model, "choices": choices, "usage": usage}
	}
	if !body.Get("stream").Bool() {
		var choices []any
		for i, said := range all {
			choices = append(choices, choice(i, said.text(), said.reason()))
		}
		simulatedJSON(ctx, answer(usage, choices...))
		return
	}
	var events []string
	for i, said := range all {
		for _, piece := range said.pieces {
			events = append(events, event("", answer(nil, choice(i, piece, nil))))
		}
		events = append(events, event("", answer(nil, choice(i, "", said.reason()))))
	}
	if body.Get("stream_options.include_usage").Bool() {
		events = append(events, event("", answer(usage, []any{}...)))
	}
	simulatedStream(ctx, append(events, "data: [DONE]\n\n"))
}

func simulatedResponse(ctx *fasthttp.RequestCtx, model string, body gjson.Result) {
	said := say(lastText(body), model, body, "max_output_tokens")
	status, details := "completed", any(nil)
	if said.cut {
		status, details = "incomplete", map[string]any{"reason": "max_output_tokens"}
	}
	part := map[string]any{"type": "output_text", "text": said.text(), "annotations": []any{}}
	item := map[string]any{"type": "message", "id": "msg_simulated", "status": status, "role": "assistant", "content": []any{part}}
	response := func(status string, details any, output []any, usage any) map[string]any {
		return map[string]any{"id": "resp_simulated", "object": "response", "created_at": time.Now().Unix(), "status": status, "model": model, "error": nil,
			"incomplete_details": details, "instructions": nil, "metadata": map[string]any{}, "output": output, "parallel_tool_calls": true, "temperature": 1,
			"tool_choice": "auto", "tools": []any{}, "top_p": 1, "usage": usage}
	}
	usage := usageOf(body, model, said.tokens, "input_tokens", "output_tokens")
	usage["input_tokens_details"], usage["output_tokens_details"] = map[string]any{"cached_tokens": 0}, map[string]any{"reasoning_tokens": 0}
	done := response(status, details, []any{item}, usage)
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
	begun := response("in_progress", nil, []any{}, nil)
	add("response.created", map[string]any{"response": begun})
	add("response.in_progress", map[string]any{"response": begun})
	add("response.output_item.added", map[string]any{"output_index": 0, "item": map[string]any{"type": "message", "id": "msg_simulated", "status": "in_progress", "role": "assistant", "content": []any{}}})
	add("response.content_part.added", at(map[string]any{"part": map[string]any{"type": "output_text", "text": "", "annotations": []any{}}}))
	for _, piece := range said.pieces {
		add("response.output_text.delta", at(map[string]any{"delta": piece, "logprobs": []any{}}))
	}
	add("response.output_text.done", at(map[string]any{"text": said.text(), "logprobs": []any{}}))
	add("response.content_part.done", at(map[string]any{"part": part}))
	add("response.output_item.done", map[string]any{"output_index": 0, "item": item})
	add("response."+status, map[string]any{"response": done})
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
	data := make([]any, 0, len(inputs))
	for i, in := range inputs {
		vector := simulatedVector(in.Raw, dims)
		var embedding any = vector
		if body.Get("encoding_format").Str == "base64" {
			embedding = packed(vector)
		}
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": embedding})
	}
	total := promptOf(body, model)
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

// pieces cuts text as a model would stream it: into words with the space before them, and single characters of other kinds.
func pieces(text string) []string {
	const longest = 8
	var list []string
	start, goesOn := 0, false
	for i, r := range text {
		word := r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r))
		if i > start && (!word || !goesOn || i-start == longest) {
			list = append(list, text[start:i])
			start = i
		}
		goesOn = word || r == ' '
	}
	return append(list, text[start:])
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
