package fakellm

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// embedding is an embeddings request.
type embedding struct {
	texts  []string
	dims   int
	base64 bool
}

var embeddingRules = map[string]rule{
	"input": is(str | arr), "model": is(str), "dimensions": is(whole), "encoding_format": is(str), "user": is(str),
}

func readEmbeddings(x *exchange) (render, *apiError) {
	e := &embedding{}
	var input, format gjson.Result
	err := x.object(embeddingRules, func(key string, v gjson.Result) {
		switch key {
		case "input":
			input = v
		case "dimensions":
			e.dims = int(v.Int())
			if e.dims < 1 {
				e.dims = -1
			}
		case "encoding_format":
			format = v
		}
	})
	if err != nil {
		return nil, err
	}
	if err := x.wantModel(); err != nil {
		return nil, err
	}
	e.base64 = format.Str == "base64"
	if format.Exists() && format.Str != "float" && !e.base64 {
		return nil, invalid("", "", "'%s' is not one of ['float', 'base64'] - 'encoding_format'", format.Str)
	}
	return e.answer, e.checked(x, input)
}

func (e *embedding) checked(x *exchange, input gjson.Result) *apiError {
	if e.dims < 0 {
		return invalid("", "", "-1 is less than the minimum of 1 - 'dimensions'")
	}
	if e.dims == 0 {
		e.dims = dimensionsOf(x.model)
	}
	e.texts, x.bill.Prompt = inputs(input)
	if len(e.texts) == 0 || len(e.texts) > 2048 {
		return invalid("", "", "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.")
	}
	for _, text := range e.texts {
		if text == "" || text == "[]" {
			return invalid("", "", "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.")
		}
	}
	return nil
}

// dimensionsOf is 256 for models that OpenAI does not have.
func dimensionsOf(model string) int {
	switch {
	case strings.HasPrefix(model, "text-embedding-3-large"):
		return 3072
	case strings.HasPrefix(model, "text-embedding"):
		return 1536
	}
	return 256
}

func (e *embedding) answer(x *exchange) (answer, *apiError) {
	b := x.c.scratch[:0]
	b = append(b, `{"object":"list","data":[`...)
	for i, text := range e.texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"object":"embedding","index":`...)
		b = append(appendInt(b, i), `,"embedding":`...)
		b = append(e.encode(b, Embed(text, e.dims)), '}')
	}
	b = append(quote(append(b, `],"model":`...), x.model), `,"usage":{"prompt_tokens":`...)
	b = append(appendInt(b, x.bill.Prompt), `,"total_tokens":`...)
	b = append(appendInt(b, x.bill.Prompt), "}}"...)
	x.c.scratch = b
	return answer{ctype: jsonType, body: b}, nil
}

func (e *embedding) encode(b []byte, v []float32) []byte {
	if e.base64 {
		raw := make([]byte, 0, 4*len(v))
		for _, f := range v {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(f))
		}
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), raw), '"')
	}
	b = append(b, '[')
	for i, f := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(f), 'f', -1, 32)
	}
	return append(b, ']')
}

// Embed is the embedding that the server answers for text: hashed byte trigrams, of length 1, so that texts with much in common are
// near each other. A token array is embedded as its JSON.
func Embed(text string, dims int) []float32 {
	v := make([]float32, dims)
	padded := " " + strings.ToLower(text) + " "
	for i := 0; i+3 <= len(padded); i++ {
		h := uint32(2166136261)
		for _, c := range []byte(padded[i : i+3]) {
			h = (h ^ uint32(c)) * 16777619
		}
		h ^= h >> 15
		v[h%uint32(dims)] += float32(1) - float32(h>>30&2)
	}
	var sum float64
	for _, f := range v {
		sum += float64(f) * float64(f)
	}
	if sum == 0 {
		v[0], sum = 1, 1
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

func appendFloat(b []byte, f float64) []byte { return strconv.AppendFloat(b, f, 'f', -1, 64) }
