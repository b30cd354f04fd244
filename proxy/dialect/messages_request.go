package dialect

func readMessages(body []byte) (*Request, error) { panic("BUG: not written") }

func (t *Translation) appendMessages(dst []byte) ([]byte, error) { panic("BUG: not written") }
