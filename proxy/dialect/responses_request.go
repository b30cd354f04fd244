package dialect

func readResponses(body []byte) (*Request, error) { panic("BUG: not written") }
