package acceptance

import (
	"encoding/json"

	"github.com/tidwall/gjson"
)

// final is what an answer comes to, whole or streamed, as read from the recording without any client.
type final struct {
	ID       string          `json:"id"`
	Model    string          `json:"model"`
	Finish   string          `json:"finish"` // of the first choice; the status of a response
	Text     string          `json:"text"`
	Refusal  string          `json:"refusal"`
	Calls    []call          `json:"calls"`
	Choices  []string        `json:"choices"` // the texts of all choices
	Usage    *usage          `json:"usage"`
	Response json.RawMessage `json:"response,omitempty"` // the whole object of the Responses API

	response gjson.Result
}

type call struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

type usage struct {
	Input     int64 `json:"input"`
	Output    int64 `json:"output"`
	Total     int64 `json:"total"`
	Cached    int64 `json:"cached"`
	Reasoning int64 `json:"reasoning"`
}

func finalOf(r *recording) *final {
	f := &final{Calls: []call{}, Choices: []string{}}
	switch {
	case r.Endpoint == "responses" && r.Stream:
		for _, event := range r.Events {
			if response := gjson.GetBytes(event, "response"); response.Exists() {
				f.readResponse(response) // the last one is the whole
			}
		}
	case r.Endpoint == "responses":
		f.readResponse(gjson.ParseBytes(r.Body))
	case r.Endpoint != "chat/completions" && r.Endpoint != "completions":
	case r.Stream:
		for _, event := range r.Events {
			f.readChoices(gjson.ParseBytes(event), "delta")
		}
	default:
		f.readChoices(gjson.ParseBytes(r.Body), "message")
	}
	return f
}

// readChoices reads a chat completion, a text completion, or one event of either.
func (f *final) readChoices(doc gjson.Result, part string) {
	if id := doc.Get("id").Str; id != "" {
		f.ID, f.Model = id, doc.Get("model").Str
	}
	if u := doc.Get("usage"); u.IsObject() {
		f.Usage = usageOf(u, "prompt_tokens", "completion_tokens")
	}
	for _, choice := range doc.Get("choices").Array() {
		at := int(choice.Get("index").Int())
		for len(f.Choices) <= at {
			f.Choices = append(f.Choices, "")
		}
		f.Choices[at] += choice.Get(part+".content").Str + choice.Get("text").Str
		if at > 0 {
			continue
		}
		f.Text = f.Choices[0]
		f.Refusal += choice.Get(part + ".refusal").Str
		if finish := choice.Get("finish_reason").Str; finish != "" {
			f.Finish = finish
		}
		for i, c := range choice.Get(part + ".tool_calls").Array() {
			f.readCall(i, c)
		}
	}
}

// readCall reads a call, or a piece of one: only the first piece has the id and the name.
func (f *final) readCall(at int, c gjson.Result) {
	if index := c.Get("index"); index.Exists() {
		at = int(index.Int())
	}
	for len(f.Calls) <= at {
		f.Calls = append(f.Calls, call{})
	}
	f.Calls[at].ID += c.Get("id").Str
	f.Calls[at].Name += c.Get("function.name").Str
	f.Calls[at].Arguments += c.Get("function.arguments").Str
}

func (f *final) readResponse(response gjson.Result) {
	*f = final{ID: response.Get("id").Str, Model: response.Get("model").Str, Finish: response.Get("status").Str,
		Calls: []call{}, Choices: []string{}, Response: json.RawMessage(response.Raw), response: response}
	if u := response.Get("usage"); u.IsObject() {
		f.Usage = usageOf(u, "input_tokens", "output_tokens")
	}
	for _, item := range response.Get("output").Array() {
		switch item.Get("type").Str {
		case "message":
			for _, part := range item.Get("content").Array() {
				if part.Get("type").Str == "output_text" {
					f.Text += part.Get("text").Str
				}
			}
		case "function_call":
			f.Calls = append(f.Calls, call{item.Get("call_id").Str, item.Get("name").Str, item.Get("arguments").Str})
		}
	}
}

func usageOf(u gjson.Result, input, output string) *usage {
	return &usage{
		Input: u.Get(input).Int(), Output: u.Get(output).Int(), Total: u.Get("total_tokens").Int(),
		Cached: u.Get(input + "_details.cached_tokens").Int(), Reasoning: u.Get(output + "_details.reasoning_tokens").Int(),
	}
}
