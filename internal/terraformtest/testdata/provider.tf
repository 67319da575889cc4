# Everything that keyturn serves and Terraform's AWS provider manages. The
# endpoint and the credentials come from the environment, as for AWS; what can
# be skipped is not skipped.
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}

variable "endpoint" {
  type = string
}

# changed is true in the second apply: something of every resource differs.
variable "changed" {
  type    = bool
  default = false
}

# The cluster's master password, which the rotation replaces at once.
variable "password" {
  type      = string
  sensitive = true
}

provider "aws" {
  region = "us-east-1"
  default_tags {
    tags = { managed = "terraform" }
  }
  endpoints {
    secretsmanager = var.endpoint
    rds            = var.endpoint
    lambda         = var.endpoint
    sts            = var.endpoint
  }
}

data "aws_caller_identity" "current" {}
