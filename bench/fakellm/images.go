package fakellm

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"
)

// picture is a request for images.
type picture struct {
	prompt                            string
	n, partial                        int
	format                            string // url or b64_json; empty: as the model does
	quality, size, background, output string
	inputs                            int // images sent along
	event                             string
}

var imageRules = map[string]rule{
	"background": is(str | null), "model": is(str | null), "moderation": is(str | null), "n": between(whole|null, 1, 10),
	"output_compression": between(whole|null, 0, 100), "output_format": is(str | null), "partial_images": between(whole|null, 0, 3),
	"prompt": is(str), "quality": is(str | null), "response_format": is(str | null), "size": is(str | null), "stream": is(flag | null),
	"style": is(str | null), "user": is(str),
}

func readImage(x *exchange) (render, *apiError) {
	p := &picture{n: 1, event: "image_generation"}
	asked := map[string]gjson.Result{}
	if err := x.object(imageRules, func(key string, v gjson.Result) { asked[key] = v }); err != nil {
		return nil, err
	}
	p.fill(func(name string) string { return asked[name].String() })
	if p.prompt == "" {
		return nil, invalid("prompt", "missing_required_parameter", "Missing required parameter: 'prompt'.")
	}
	return p.answer, p.checked(x)
}

// readImageForm reads edits and variations.
func readImageForm(x *exchange) (render, *apiError) {
	fields := []string{"model", "n", "size", "response_format", "user"}
	files := []string{"image", "image[]"}
	p := &picture{n: 1, event: "image_edit"}
	if x.endpoint == "images/edits" {
		fields = append(fields, "prompt", "background", "input_fidelity", "output_compression", "output_format", "partial_images", "quality", "stream")
		files = append(files, "mask")
	}
	f, err := x.form(fields, files)
	if err != nil {
		return nil, err
	}
	p.fill(f.get)
	p.inputs = len(f.files["image"]) + len(f.files["image[]"])
	if p.inputs == 0 {
		return nil, invalid("image", "missing_required_parameter", "Missing required parameter: 'image'.")
	}
	if p.prompt == "" && x.endpoint == "images/edits" {
		return nil, invalid("prompt", "missing_required_parameter", "Missing required parameter: 'prompt'.")
	}
	return p.answer, p.checked(x)
}

func (p *picture) fill(get func(string) string) {
	p.prompt, p.format, p.quality, p.size = get("prompt"), get("response_format"), get("quality"), get("size")
	p.background, p.output = get("background"), get("output_format")
	if n, err := strconv.Atoi(get("n")); err == nil {
		p.n = n
	}
	p.partial, _ = strconv.Atoi(get("partial_images")) // absent is none
}

// tokens reports whether the model is one that answers base64 only and bills tokens.
func (p *picture) tokens(x *exchange) bool { return strings.HasPrefix(x.model, "gpt-image") }

func (p *picture) checked(x *exchange) *apiError {
	if x.model == "" && x.params.deployment == "" {
		x.model = "dall-e-2"
	}
	if err := x.wantModel(); err != nil {
		return err
	}
	if p.tokens(x) && p.format != "" {
		return invalid("response_format", "unknown_parameter", "Unknown parameter: 'response_format'.")
	}
	switch p.format {
	case "", "url", "b64_json":
	default:
		return invalid("response_format", "invalid_value", "Invalid value: '%s'. Supported values are: 'b64_json' and 'url'.", p.format)
	}
	if p.n < 1 || p.n > 10 {
		return invalid("n", "integer_above_max_value", "Invalid 'n': integer above maximum value. Expected a value <= 10, but got %d instead.", p.n)
	}
	x.bill.Prompt = tokensOf(p.prompt) + 85*p.inputs
	return nil
}

func (p *picture) answer(x *exchange) (answer, *apiError) {
	x.bill.Images = p.n
	each := map[string]int{"low": 272, "high": 4160}[p.quality]
	if each == 0 {
		each = 1056
	}
	if p.tokens(x) || x.stream {
		x.bill.Completion = each * p.n
	} else {
		x.bill.Prompt = 0 // billed by the image
	}
	if x.stream {
		s := p.events(x)
		return answer{ctype: sseType, script: s, parts: len(s.events), hidden: x.bill.Completion - len(s.events)}, nil
	}
	b := fmt.Appendf(nil, `{"created":%d,"data":[`, x.s.now().Unix())
	for i := range p.n {
		if i > 0 {
			b = append(b, ',')
		}
		b = p.one(b, x, i)
	}
	b = append(b, ']')
	if p.tokens(x) {
		b = append(p.look(b), `,"usage":`...)
		b = p.usage(b, x)
	}
	return answer{ctype: jsonType, body: append(b, '}')}, nil
}

func (p *picture) one(b []byte, x *exchange, i int) []byte {
	if p.format == "b64_json" || p.tokens(x) {
		return append(base64.StdEncoding.AppendEncode(append(b, `{"b64_json":"`...), paint(x.seed+uint32(i))), `"}`...)
	}
	b = fmt.Appendf(b, `{"url":"%s/_fake/pictures/%d.png","revised_prompt":`, x.s.URL(), x.seed+uint32(i))
	return append(quote(b, p.prompt), '}')
}

func (p *picture) look(b []byte) []byte {
	or := func(s, otherwise string) string {
		if s == "" || s == "auto" {
			return otherwise
		}
		return s
	}
	return fmt.Appendf(b, `,"background":"%s","output_format":"%s","quality":"%s","size":"%s"`,
		or(p.background, "opaque"), or(p.output, "png"), or(p.quality, "medium"), or(p.size, "1024x1024"))
}

func (p *picture) usage(b []byte, x *exchange) []byte {
	text := tokensOf(p.prompt)
	return fmt.Appendf(b, `{"total_tokens":%d,"input_tokens":%d,"output_tokens":%d,"input_tokens_details":{"text_tokens":%d,"image_tokens":%d}}`,
		x.bill.Prompt+x.bill.Completion, x.bill.Prompt, x.bill.Completion, text, x.bill.Prompt-text)
}

func (p *picture) events(x *exchange) *listed {
	s := &listed{}
	event := func(kind string, i int) []byte {
		b := fmt.Appendf(nil, `{"type":"%s","created_at":%d,"b64_json":"%s"`, kind, x.s.now().Unix(), base64.StdEncoding.EncodeToString(paint(x.seed+uint32(i))))
		return p.look(b)
	}
	for i := range p.partial {
		kind := p.event + ".partial_image"
		s.add(content, kind, fmt.Appendf(event(kind, i+1), `,"partial_image_index":%d}`, i))
	}
	kind := p.event + ".completed"
	s.add(content, kind, append(p.usage(append(event(kind, 0), `,"usage":`...), x), '}'))
	return s
}

// paint is a small PNG of one colour.
func paint(seed uint32) []byte {
	img := image.NewPaletted(image.Rect(0, 0, 8, 8), color.Palette{color.RGBA{byte(seed), byte(seed >> 8), byte(seed >> 16), 255}})
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic("BUG: fakellm: PNG: " + err.Error())
	}
	return b.Bytes()
}

// picturePage serves the images that answers link to, and 404 for the rest.
func (s *Server) picturePage(ctx *fasthttp.RequestCtx, path string) bool {
	name, ok := strings.CutPrefix(path, "/_fake/pictures/")
	seed, err := strconv.ParseUint(strings.TrimSuffix(name, ".png"), 10, 32)
	if !ok || err != nil {
		ctx.SetStatusCode(404)
		return true
	}
	ctx.Response.Header.SetContentType("image/png")
	ctx.Response.SetBodyRaw(paint(uint32(seed)))
	return true
}
