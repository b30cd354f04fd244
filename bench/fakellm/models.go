package fakellm

// readModels lists the models or shows one of them.
func readModels(x *exchange) (render, *apiError) {
	x.model = x.params.id
	if x.model != "" && !x.s.serves(x.model) {
		return nil, noSuchModel(x)
	}
	return listModels, nil
}

func listModels(x *exchange) (answer, *apiError) {
	if x.params.id != "" {
		return answer{ctype: jsonType, body: x.modelCard(nil, x.model)}, nil
	}
	all := x.s.o.Models
	if all == nil {
		all = []string{"fake", "fake-echo", "fake-embed", "gpt-5-nano", "text-embedding-3-small"}
	}
	b := []byte(`{"object":"list","data":[`)
	for i, name := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = x.modelCard(b, name)
	}
	return answer{ctype: jsonType, body: append(b, "]}"...)}, nil
}

func (x *exchange) modelCard(b []byte, name string) []byte {
	b = quote(append(b, `{"id":`...), name)
	b = append(b, `,"object":"model","created":`...)
	b = appendInt(b, int(x.s.now().Unix()))
	if x.s.o.Kind != VLLM {
		return append(b, `,"owned_by":"fakellm"}`...)
	}
	b = quote(append(b, `,"owned_by":"vllm","root":`...), name)
	return append(b, `,"parent":null,"max_model_len":32768,"permission":[]}`...)
}
