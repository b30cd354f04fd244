package fakellm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// ranking is a rerank request as vLLM, Jina and Cohere take it.
type ranking struct {
	query     string
	documents []string
	top       int
}

var rankRules = map[string]rule{
	"model": is(str), "query": is(str), "documents": is(arr), "top_n": is(whole | null), "return_documents": is(flag | null),
	"max_tokens_per_doc": is(whole | null),
}

func readRerank(x *exchange) (render, *apiError) {
	r := &ranking{}
	err := x.object(rankRules, func(key string, v gjson.Result) {
		switch key {
		case "query":
			r.query = v.Str
		case "top_n":
			r.top = int(v.Int())
		case "documents":
			for _, d := range v.Array() {
				r.documents = append(r.documents, d.Str+d.Get("text").Str)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if err := x.wantModel(); err != nil {
		return nil, err
	}
	if r.query == "" || r.documents == nil {
		return nil, invalid("documents", "missing_required_parameter", "Missing required parameter: 'query' or 'documents'.")
	}
	for _, d := range r.documents {
		x.bill.Prompt += tokensOf(r.query) + tokensOf(d)
	}
	return r.answer, nil
}

// answer ranks by the cosine of the embeddings, mapped to 0..1.
func (r *ranking) answer(x *exchange) (answer, *apiError) {
	type hit struct {
		index int
		score float64
	}
	hits := make([]hit, len(r.documents))
	query := Embed(r.query, 256)
	for i, d := range r.documents {
		dot := 0.0
		for j, f := range Embed(d, 256) {
			dot += float64(f) * float64(query[j])
		}
		hits[i] = hit{i, (1 + dot) / 2}
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return cmp.Compare(b.score, a.score) })
	if r.top > 0 && r.top < len(hits) {
		hits = hits[:r.top]
	}
	b := append(quote(append(x.id([]byte(`{"id":"`), "rerank-", 0), `","model":`...), x.model), `,"usage":{"total_tokens":`...)
	b = append(appendInt(b, x.bill.Prompt), `},"results":[`...)
	for i, h := range hits {
		if i > 0 {
			b = append(b, ',')
		}
		b = quote(fmt.Appendf(b, `{"index":%d,"relevance_score":%.6f,"document":{"text":`, h.index, h.score), r.documents[h.index])
		b = append(b, "}}"...)
	}
	return answer{ctype: jsonType, body: append(b, "]}"...)}, nil
}

var moderationRules = map[string]rule{"model": is(str), "input": is(str | arr)}

// harms are the categories of the moderation endpoint, each with the word that sets it off.
func harms() [][2]string {
	return [][2]string{{"harassment", "idiot"}, {"harassment/threatening", "threat"}, {"sexual", "porn"}, {"hate", "hate"},
		{"hate/threatening", "lynch"}, {"illicit", "heist"}, {"illicit/violent", "bomb"}, {"self-harm/intent", "suicide"},
		{"self-harm/instructions", "overdose"}, {"self-harm", "suicide"}, {"sexual/minors", "minor porn"}, {"violence", "kill"},
		{"violence/graphic", "gore"}}
}

func readModeration(x *exchange) (render, *apiError) {
	var input gjson.Result
	err := x.object(moderationRules, func(key string, v gjson.Result) {
		if key == "input" {
			input = v
		}
	})
	if err != nil {
		return nil, err
	}
	if x.model == "" {
		x.model = "omni-moderation-latest"
	}
	var texts []string
	switch {
	case input.Type == gjson.String:
		texts = []string{input.Str}
	case input.Get("0").IsObject(): // parts of one thing
		texts = []string{strings.Join(stringsOf(input.Get("#.text")), " ")}
	default:
		texts = stringsOf(input)
	}
	if texts == nil {
		return nil, invalid("input", "missing_required_parameter", "Missing required parameter: 'input'.")
	}
	return func(x *exchange) (answer, *apiError) { return moderated(x, texts), nil }, x.wantModel()
}

func stringsOf(v gjson.Result) []string {
	var all []string
	for _, s := range v.Array() {
		all = append(all, s.String())
	}
	return all
}

func moderated(x *exchange, texts []string) answer {
	b := append(quote(append(x.id([]byte(`{"id":"`), "modr-", 0), `","model":`...), x.model), `,"results":[`...)
	for i, text := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = judged(b, strings.ToLower(text))
	}
	return answer{ctype: jsonType, body: append(b, "]}"...)}
}

func judged(b []byte, text string) []byte {
	var categories, scores, types []string
	flagged := false
	for _, h := range harms() {
		hit := strings.Contains(text, h[1])
		flagged = flagged || hit
		score := 0.0001
		if hit {
			score = 0.97
		}
		categories = append(categories, fmt.Sprintf(`"%s":%v`, h[0], hit))
		scores = append(scores, fmt.Sprintf(`"%s":%v`, h[0], score))
		types = append(types, fmt.Sprintf(`"%s":["text"]`, h[0]))
	}
	return fmt.Appendf(b, `{"flagged":%v,"categories":{%s},"category_scores":{%s},"category_applied_input_types":{%s}}`,
		flagged, strings.Join(categories, ","), strings.Join(scores, ","), strings.Join(types, ","))
}
