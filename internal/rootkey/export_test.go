package rootkey

import (
	"context"
	"io/fs"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// CheckModeOwner is checkAccess for users and groups that a test cannot become.
func CheckModeOwner(mode fs.FileMode, owner, self uint32) error {
	return checkModeOwner(mode, owner, self)
}

// DecodeFile is the parser of root key files.
var DecodeFile = decodeFile

// CheckParams decodes parameters as those of a KMS and of a token.
func CheckParams(params []byte) {
	_, _ = decodeKMSParams(params)
	_, _ = decodePKCS11Params(params)
}

// KMSEndpoint is where a KMS would be asked, nil for AWS's own place.
func KMSEndpoint(ctx context.Context, k *KMS) (endpoint *string, err error) {
	err = k.connect(ctx, func(_ context.Context, c *kms.Client) error {
		endpoint = c.Options().BaseEndpoint
		return nil
	})
	return endpoint, err
}
