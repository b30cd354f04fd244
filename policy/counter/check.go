package counter

// Check tells what is wrong with the URL of Options, and connects to nothing. The error holds no part of the URL.
func Check(where string) error {
	if where == "" || where == "memory" {
		return nil
	}
	client, err := newClient(where, nil)
	if err != nil {
		return err
	}
	return client.Close()
}
