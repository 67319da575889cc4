package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go/logging"
	"github.com/spf13/cobra"
)

const environmentText = `keyturn finds its server, region and credentials where the AWS CLI finds them.
A flag goes before a variable, a variable before the profile.

  AWS_ENDPOINT_URL                   the server; without it, AWS itself
  AWS_ENDPOINT_URL_SECRETS_MANAGER   the same for one service (_RDS, _LAMBDA)
  AWS_PROFILE                        a profile of ~/.aws/config
  AWS_SHARED_CREDENTIALS_FILE        a server started by "keyturn serve" writes
                                     DIR/credentials
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
  AWS_REGION, AWS_DEFAULT_REGION     us-east-1 when the endpoint is not AWS
  AWS_CA_BUNDLE, AWS_MAX_ATTEMPTS, AWS_RETRY_MODE, HTTPS_PROXY

  NO_COLOR                           no colour; there is none anyway when stdout
                                     is not a terminal`

func newEnvironmentTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "environment",
		Short: "Where server, region and credentials come from",
		Long:  environmentText,
	}
}

const (
	dialTimeout   = 5 * time.Second
	answerTimeout = time.Minute
	localBackoff  = 500 * time.Millisecond
	localRegion   = "us-east-1"
)

// awsConfig reads the ordinary AWS settings, with the global flags before
// them, and refuses what could only fail later with a less useful error.
func (a *app) awsConfig(ctx context.Context) (aws.Config, error) {
	cfg, err := a.loadConfig(ctx)
	if err != nil {
		return aws.Config{}, err
	}
	if err := checkSettings(cfg); err != nil {
		return aws.Config{}, err
	}
	if !isAWS(customEndpoint(cfg)) {
		// The role of an EC2 instance means nothing to another server, and
		// looking for one takes seconds where there is none.
		cfg, err = a.loadConfig(ctx, config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
		if err != nil {
			return aws.Config{}, err
		}
		preferLocal(&cfg)
	}
	if a.flags.debug {
		cfg.HTTPClient = debugClient{next: cfg.HTTPClient, out: a.stderr, now: a.now}
	}
	return cfg, checkConfig(ctx, cfg)
}

func (a *app) loadConfig(ctx context.Context, more ...func(*config.LoadOptions) error) (aws.Config, error) {
	client := awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) { t.ResponseHeaderTimeout = answerTimeout })
	// The SDK's own warnings on stderr say nothing that an error does not.
	options := append([]func(*config.LoadOptions) error{config.WithHTTPClient(client), config.WithLogger(logging.Nop{})}, more...)
	if a.flags.profile != "" {
		options = append(options, config.WithSharedConfigProfile(a.flags.profile))
	}
	if a.flags.region != "" {
		options = append(options, config.WithRegion(a.flags.region))
	}
	if err := checkEndpoint(a.flags.endpointURL); err != nil {
		return aws.Config{}, err
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("reading the AWS settings: %w", err)
	}
	if a.flags.endpointURL != "" {
		cfg.ServiceOptions = append(cfg.ServiceOptions, useEndpoint(a.flags.endpointURL))
	}
	return cfg, nil
}

func checkEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return usagef("--endpoint-url is a URL such as http://127.0.0.1:4566")
	}
	return nil
}

// checkSettings refuses an endpoint of the environment or profile that is no URL, which
// the SDK would only stumble over.
func checkSettings(cfg aws.Config) error {
	if endpoint := customEndpoint(cfg); endpoint != "" && checkEndpoint(endpoint) != nil {
		return usagef("the endpoint %q of the AWS settings is no URL such as http://127.0.0.1:4566; see AWS_ENDPOINT_URL", endpoint)
	}
	return nil
}

// useEndpoint sends every service to one server. An SDK client would prefer
// AWS_ENDPOINT_URL_SECRETS_MANAGER to the configuration's BaseEndpoint, but a
// flag goes before a variable.
func useEndpoint(endpoint string) func(string, any) {
	return func(_ string, options any) {
		switch o := options.(type) {
		case *secretsmanager.Options:
			o.BaseEndpoint = aws.String(endpoint)
		case *rds.Options:
			o.BaseEndpoint = aws.String(endpoint)
		case *lambda.Options:
			o.BaseEndpoint = aws.String(endpoint)
		}
	}
}

// customEndpoint is the configured server of Secrets Manager; empty: AWS.
func customEndpoint(cfg aws.Config) string {
	return aws.ToString(secretsmanager.NewFromConfig(cfg).Options().BaseEndpoint)
}

// isAWS tells AWS's own endpoints, VPC endpoints among them, from others.
func isAWS(endpoint string) bool {
	if endpoint == "" {
		return true
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	for _, suffix := range []string{".amazonaws.com", ".amazonaws.com.cn", ".api.aws"} {
		if strings.HasSuffix(u.Hostname(), suffix) {
			return true
		}
	}
	return false
}

// preferLocal fits the settings to a server that is near: a region that needs
// not be named, and retries that do not keep anybody waiting when it is down.
func preferLocal(cfg *aws.Config) {
	if cfg.Region == "" {
		cfg.Region = localRegion
	}
	if cfg.Retryer == nil && cfg.RetryMode == "" {
		cfg.Retryer = func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = localBackoff })
		}
	}
}

func checkConfig(ctx context.Context, cfg aws.Config) error {
	if cfg.Region == "" {
		return guided{
			err: errors.New("no AWS region is set"),
			hint: "Set AWS_REGION, --region, or a region in the profile. For a keyturn server set its address instead:\n" +
				"  export AWS_ENDPOINT_URL=http://127.0.0.1:4566",
		}
	}
	_, err := cfg.Credentials.Retrieve(ctx)
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	return noCredentials(cfg, err)
}

func noCredentials(cfg aws.Config, err error) error {
	if endpoint := customEndpoint(cfg); !isAWS(endpoint) {
		return guided{
			err: fmt.Errorf("no credentials for %s", endpoint),
			hint: "A server started by \"keyturn serve\" writes them into its data folder:\n" +
				"  export AWS_SHARED_CREDENTIALS_FILE=keyturn-data/credentials\n" +
				"A server in --dev mode takes any:\n" +
				"  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test",
		}
	}
	return guided{
		err: fmt.Errorf("no credentials for AWS: %w", err),
		hint: "Set AWS_PROFILE or --profile. For a keyturn server start one with \"keyturn serve\", then\n" +
			"  export AWS_ENDPOINT_URL=http://127.0.0.1:4566\n" +
			"  export AWS_SHARED_CREDENTIALS_FILE=keyturn-data/credentials",
	}
}

// secrets makes the client that most commands need.
func (a *app) secrets(ctx context.Context) (*secretsmanager.Client, error) {
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return nil, err
	}
	return secretsmanager.NewFromConfig(cfg), nil
}
