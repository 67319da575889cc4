package envelope

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
)

// kmsTimeout bounds one call of AWS KMS, with its retries: a caller waits for it.
const kmsTimeout = 10 * time.Second

// placeContext is the name in the encryption context under which AWS KMS binds a
// data key to the place of its value. It stands in CloudTrail.
const placeContext = "keyturn:place"

var kmsARN = regexp.MustCompile(`^arn:aws[a-z-]{0,20}:kms:([a-z]{2,10}(?:-[a-z]{2,15}){1,3}-[0-9]{1,2}):[0-9]{12}:key/[0-9A-Za-z-]{1,128}$`)

// awsKMS makes keys of AWS KMS, with a client for each region. A nil *awsKMS
// has none.
type awsKMS struct {
	load func(context.Context) (aws.Config, error)

	mu      sync.Mutex
	clients map[string]*kms.Client // :: region → client
}

func newAWSKMS(load func(context.Context) (aws.Config, error)) *awsKMS {
	if load == nil {
		return nil
	}
	return &awsKMS{load: load, clients: map[string]*kms.Client{}}
}

// key returns the key with that ARN; nothing is asked yet.
func (a *awsKMS) key(arn string) (*kmsKey, error) {
	m := kmsARN.FindStringSubmatch(arn)
	if m == nil {
		return nil, fmt.Errorf("Invalid arn %s", arn)
	}
	if a == nil {
		return nil, errors.New("this server does not use AWS KMS")
	}
	return &kmsKey{kms: a, arn: arn, region: m[1]}, nil
}

func (a *awsKMS) client(ctx context.Context, region string) (*kms.Client, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.clients[region]; c != nil {
		return c, nil
	}
	cfg, err := a.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the AWS settings: %w", err)
	}
	cfg.Region = region
	if cfg.Credentials != nil {
		cfg.Credentials = aws.NewCredentialsCache(credentials{cfg.Credentials})
	}
	a.clients[region] = kms.NewFromConfig(cfg, func(o *kms.Options) {
		// AWS_ENDPOINT_URL is where keyturn's own clients find it, and this server
		// must not ask itself for keys.
		o.BaseEndpoint = nil
		if url := os.Getenv("AWS_ENDPOINT_URL_KMS"); url != "" {
			o.BaseEndpoint = &url
		}
	})
	return a.clients[region], nil
}

// credentials makes their absence what it is for a caller: no access to AWS KMS.
type credentials struct{ aws.CredentialsProvider }

// Retrieve implements aws.CredentialsProvider.
func (c credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	found, err := c.CredentialsProvider.Retrieve(ctx)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrAccessDenied, err)
	}
	return found, err
}

// kmsKey is a key in AWS KMS. What rotates it is AWS: its ARN, and so its ID,
// stays.
type kmsKey struct {
	kms         *awsKMS
	arn, region string
}

// ID returns the key's ARN.
func (k *kmsKey) ID() string { return k.arn }

// Wrap asks AWS KMS to encrypt dataKey (kms:Encrypt).
func (k *kmsKey) Wrap(ctx context.Context, dataKey, boundTo []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, kmsTimeout)
	defer cancel()
	client, err := k.kms.client(ctx, k.region)
	if err != nil {
		return nil, err
	}
	out, err := client.Encrypt(ctx, &kms.EncryptInput{KeyId: &k.arn, Plaintext: dataKey, EncryptionContext: contextOf(boundTo)})
	if err != nil {
		return nil, kmsError(err)
	}
	return out.CiphertextBlob, nil
}

// Unwrap asks AWS KMS to decrypt what Wrap made (kms:Decrypt).
func (k *kmsKey) Unwrap(ctx context.Context, wrapped, boundTo []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, kmsTimeout)
	defer cancel()
	client, err := k.kms.client(ctx, k.region)
	if err != nil {
		return nil, err
	}
	out, err := client.Decrypt(ctx, &kms.DecryptInput{KeyId: &k.arn, CiphertextBlob: wrapped, EncryptionContext: contextOf(boundTo)})
	if err != nil {
		return nil, kmsError(err)
	}
	return out.Plaintext, nil
}

func contextOf(boundTo []byte) map[string]string {
	return map[string]string{placeContext: string(boundTo)}
}

// refusals are the codes by which AWS KMS says that this server may not use a
// key, or does not know who it is.
var refusals = []string{
	"AccessDeniedException", "AccessDenied", "UnrecognizedClientException", "InvalidSignatureException", "InvalidClientTokenId",
	"IncompleteSignature", "MissingAuthenticationTokenException", "MissingAuthenticationToken", "ExpiredTokenException", "ExpiredToken",
	"NotAuthorized", "OptInRequired",
}

// kmsError names the failures that have a meaning of their own; an outage stays
// what it is.
func kmsError(err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return fmt.Errorf("asking AWS KMS: %w", err)
	}
	switch code := api.ErrorCode(); {
	case slices.Contains(refusals, code):
		return fmt.Errorf("%w: %w", ErrAccessDenied, err)
	case code == "NotFoundException" || code == "InvalidArnException":
		return &InvalidKeyError{Reason: api.ErrorMessage()}
	case slices.Contains([]string{"DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException", "KeyUnavailableException"}, code):
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	case code == "InvalidCiphertextException" || code == "IncorrectKeyException":
		return ErrWrongPlace
	}
	return fmt.Errorf("asking AWS KMS: %w", err)
}
