package rootkey

import "arca/internal/envelope"

// FormerFile is where a former root key, or the passphrase of one, lies after it was
// set aside from path.
func FormerFile(path string, id envelope.KeyID) string {
	return kept{path: path}.former(id).path
}
