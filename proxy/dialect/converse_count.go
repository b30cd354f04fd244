package dialect

// AppendCount appends the body that asks Bedrock how many tokens the request has, without an answer to it.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html
func (t *Translation) AppendCount(dst []byte) ([]byte, error) {
	c, err := t.converseRequest()
	if err != nil {
		return nil, err
	}
	dst = append(dst, `{"input":{"converse":{`...)
	for _, part := range []func([]byte) ([]byte, error){c.appendMessages, c.appendSystem, c.appendTools, c.appendAdditional} {
		if dst, err = part(dst); err != nil {
			return nil, err
		}
	}
	return append(dst, '}', '}', '}'), nil
}
