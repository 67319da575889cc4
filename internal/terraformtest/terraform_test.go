// Package terraformtest tests the server with Terraform and its AWS provider. It is
// a package of its own since the provider mostly sleeps.
package terraformtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/keyturntest"
)

// All that Terraform's AWS provider manages here: applied, found unchanged,
// changed, taken over by a second state, destroyed. The provider waits 30
// seconds before it looks at a cluster or instance it has changed, five times
// in all; hence the time this takes.
func TestTerraform(t *testing.T) {
	s := keyturntest.NewServer(t)
	tf := newTerraform(t, s)
	tf.run("init", "-input=false")
	tf.apply()
	tf.wantNoChanges()
	tf.wantRead("first", "eu-west-1")
	tf.set("changed", "true")
	tf.apply()
	tf.wantNoChanges()
	tf.wantRead("second", "ap-south-1", "eu-west-1")
	tf.takeOver()
	tf.wantNoChanges()
	tf.run("destroy", "-auto-approve", "-input=false", "-no-color")
	wantAllGone(t, s)
}

// terraform is a working folder with the module in testdata.
type terraform struct {
	t    *testing.T
	s    *keyturntest.Server
	dir  string
	vars []string // TF_VAR_NAME=value
}

func newTerraform(t *testing.T, s *keyturntest.Server) *terraform {
	t.Helper()
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Fatal("terraform is not in PATH: install Terraform 1.11 or newer")
	}
	tf := &terraform{t: t, s: s, dir: t.TempDir()}
	tf.set("endpoint", s.URL)
	tf.set("password", "First.Password1")
	if err := os.CopyFS(tf.dir, os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	tf.write("cli.tfrc", cliConfig(t))
	return tf
}

func (tf *terraform) write(name, text string) {
	tf.t.Helper()
	if err := os.WriteFile(filepath.Join(tf.dir, name), []byte(text), 0o600); err != nil {
		tf.t.Fatal(err)
	}
}

func (tf *terraform) set(variable, value string) {
	tf.vars = append(tf.vars, "TF_VAR_"+variable+"="+value)
}

// pluginVersion is the one that testdata asks for.
const pluginVersion = "5.100.0"

// cliConfig makes Terraform take the provider from a folder of this machine, or
// download it into a cache where there is none.
func cliConfig(t *testing.T) string {
	t.Helper()
	if mirror := pluginMirror(t); mirror != "" {
		return fmt.Sprintf("disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "keyturn", "terraform-plugins")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("disable_checkpoint = true\nplugin_cache_dir = %q\nprovider_installation {\n  direct {}\n}\n", cache)
}

// pluginMirror returns the folder that holds the provider: the one that
// KEYTURN_TEST_TERRAFORM_PLUGINS names, or one of those in which Terraform
// itself looks, or /opt/tf-plugins; empty when there is none.
func pluginMirror(t *testing.T) string {
	t.Helper()
	named := os.Getenv("KEYTURN_TEST_TERRAFORM_PLUGINS")
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	mirrors := []string{named, filepath.Join(home, ".terraform.d/plugins"), filepath.Join(home, ".local/share/terraform/plugins"),
		"/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins", "/opt/tf-plugins"}
	for _, mirror := range mirrors {
		found, err := filepath.Glob(filepath.Join(mirror, "registry.terraform.io/hashicorp/aws", "*"+pluginVersion+"*"))
		if err == nil && mirror != "" && len(found) > 0 {
			return mirror
		}
		if mirror == named && named != "" {
			t.Fatalf("KEYTURN_TEST_TERRAFORM_PLUGINS: %s holds no registry.terraform.io/hashicorp/aws/%s", named, pluginVersion)
		}
	}
	return ""
}

// command runs Terraform and returns what it prints.
func (tf *terraform) command(args ...string) (string, error) {
	cmd := exec.CommandContext(tf.t.Context(), "terraform", append([]string{"-chdir=" + tf.dir}, args...)...)
	cmd.Env = append(tf.s.Env(), "TF_CLI_CONFIG_FILE="+filepath.Join(tf.dir, "cli.tfrc"), "TF_IN_AUTOMATION=1",
		"GOGC=400") // the provider is large, and lives for seconds
	cmd.Env = append(cmd.Env, tf.vars...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (tf *terraform) run(args ...string) string {
	tf.t.Helper()
	out, err := tf.command(args...)
	if err != nil {
		tf.t.Fatalf("terraform %s: %v\n%s", args[0], err, out[max(0, strings.Index(out, "Error: ")):])
	}
	return out
}

func (tf *terraform) apply() string {
	tf.t.Helper()
	return tf.run("apply", "-auto-approve", "-input=false", "-no-color")
}

func (tf *terraform) wantNoChanges() {
	tf.t.Helper()
	out, err := tf.command("plan", "-detailed-exitcode", "-input=false", "-no-color")
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 2 {
		tf.t.Errorf("a plan after apply wants changes:\n%s", out)
	} else if err != nil {
		tf.t.Fatalf("terraform plan: %v\n%s", err, out)
	}
}

// output reads one of the module's outputs into v.
func (tf *terraform) output(name string, v any) {
	tf.t.Helper()
	if err := json.Unmarshal([]byte(tf.run("output", "-json", name)), v); err != nil {
		tf.t.Fatal(err)
	}
}

// wantRead compares what the data sources read.
func (tf *terraform) wantRead(password string, replicas ...string) {
	tf.t.Helper()
	var got struct {
		Account, ARN, Policy, Value string
		Versions, Random            int
		Names, Replicas, Members    []string
		Master                      bool // the secret of the managed master user is there
	}
	tf.output("read", &got)
	if got.Account != "000000000000" || !strings.Contains(got.ARN, ":secret:prod/app-") || !strings.Contains(got.Policy, "OwnAccount") || !got.Master {
		tf.t.Errorf("read %+v", got)
	}
	if want := fmt.Sprintf(`{"password":%q,"username":"app"}`, password); got.Value != want {
		tf.t.Errorf("value = %s, want %s", got.Value, want)
	}
	if want := map[string]int{"first": 1, "second": 2}[password]; got.Versions != want || got.Random != 50 {
		tf.t.Errorf("%d versions, want %d; a random password of %d", got.Versions, want, got.Random)
	}
	for _, list := range [][2][]string{{got.Names, {"prod/app", "prod/blob"}}, {got.Replicas, replicas}, {got.Members, {"orders-1"}}} {
		if diff := cmp.Diff(list[1], list[0]); diff != "" {
			tf.t.Error(diff)
		}
	}
}

var importSummary = regexp.MustCompile(`(\d+) imported, (\d+) added, \d+ changed, 0 destroyed`)

// takeOver imports all resources into an empty state. What the API does not
// tell, such as a recovery window, is set in that state. The one value that
// Terraform never sees cannot be imported: it gets a new version.
func (tf *terraform) takeOver() {
	tf.t.Helper()
	var ids map[string]string
	tf.output("imports", &ids)
	var blocks strings.Builder
	for to, id := range ids {
		fmt.Fprintf(&blocks, "import {\n  to = %s\n  id = %q\n}\n", to, id)
	}
	tf.write("imports.tf", blocks.String())
	tf.run("workspace", "new", "taken-over")
	out := tf.apply()
	if m := importSummary.FindStringSubmatch(out); m == nil || m[1] != strconv.Itoa(len(ids)) || m[2] != "1" {
		tf.t.Errorf("%d resources were to be imported, one made, and none destroyed:\n%s", len(ids), out)
	}
}

// wantAllGone: of all that there was, only the secret with a recovery window is
// left, and it is on its way out.
func wantAllGone(t *testing.T, s *keyturntest.Server) {
	t.Helper()
	for region, want := range map[string][]string{"us-east-1": {"prod/app"}, "eu-west-1": nil, "ap-south-1": nil} {
		out, err := s.SecretsManager.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true)},
			func(o *secretsmanager.Options) { o.Region = region })
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range out.SecretList {
			if names = append(names, *e.Name); e.DeletedDate == nil {
				t.Errorf("%s is not deleted", *e.Name)
			}
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("secrets in %s: %s", region, diff)
		}
	}
	clusters, err := s.RDS.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{})
	if err != nil || len(clusters.DBClusters) > 0 {
		t.Errorf("clusters: %v, %v", clusters, err)
	}
	policy, err := s.Lambda.GetPolicy(t.Context(), &lambda.GetPolicyInput{FunctionName: aws.String("keyturn-rotate-mysql")})
	if err == nil {
		t.Errorf("the function's policy: %s", *policy.Policy)
	}
}
