package fakellm

// shape is how a provider's OpenAI-like JSON differs from the others': pieces of JSON that are put in at fixed places.
type shape struct {
	message string // at the end of a message
	noCalls string // in a message without tool calls
	mute    string // in a message without shown reasoning
	choice  string // at the end of a choice of a whole answer
	whole   string // at the end of a whole answer
	chunk   string // of a stream event, next to id and model
	delta   string // at the end of a stream choice that carries content
	frame   string // at the end of other stream choices
	text    string // at the end of a choice of a (legacy) text completion
	first   string // data of an event before all others

	choicesFirst   bool   // order of the keys of a stream event
	obfuscation    bool   // stream events are padded
	usageByDefault bool   // stream_options without include_usage ask for usage
	reasoning      string // the field that shows reasoning; empty: it is hidden
	usage          func(dst []byte, u Usage) []byte
}

func openAIShape() *shape {
	return &shape{
		message: `,"refusal":null,"annotations":[]`, whole: `,"service_tier":"default","system_fingerprint":"fp_fake0000"`,
		chunk: `,"service_tier":"default","system_fingerprint":"fp_fake0000"`, obfuscation: true, usage: appendUsage,
	}
}

func appendUsage(dst []byte, u Usage) []byte {
	dst = append(dst, `{"prompt_tokens":`...)
	dst = appendInt(dst, u.Prompt)
	dst = append(dst, `,"completion_tokens":`...)
	dst = appendInt(dst, u.Completion)
	dst = append(dst, `,"total_tokens":`...)
	dst = appendInt(dst, u.Prompt+u.Completion)
	dst = append(dst, `,"prompt_tokens_details":{"cached_tokens":`...)
	dst = appendInt(dst, u.Cached)
	dst = append(dst, `,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":`...)
	dst = appendInt(dst, u.Reasoning)
	return append(dst, `,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`...)
}

// topOf appends id, object, created and model, without braces.
func (x *exchange) topOf(dst []byte, prefix, object string) []byte {
	dst = append(dst, `"id":"`...)
	dst = x.id(dst, prefix, 0)
	dst = append(dst, `","object":"`...)
	dst = append(dst, object...)
	dst = append(dst, `","created":`...)
	dst = appendInt(dst, int(x.s.now().Unix()))
	dst = append(dst, `,"model":`...)
	return quote(dst, x.model)
}

// padding is the obfuscation of the i-th event.
func padding(dst []byte, i int) []byte {
	dst = append(dst, `,"obfuscation":"`...)
	dst = append(dst, idLetters[i%40:i%40+2+(i*7)%14]...)
	return append(dst, '"')
}
