package dialect

func readChat(body []byte) (*Request, error) { panic("BUG: not written") }

func (t *Translation) appendChat(dst []byte) ([]byte, error) { panic("BUG: not written") }
