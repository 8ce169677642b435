# source env.sh : the project's environment for a shell (bash, zsh, sh started in the project's folder).
_seam_root="$(cd "$(dirname "${BASH_SOURCE:-./env.sh}")" && pwd)"
. "$_seam_root/.venv/bin/activate"
export DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true PREFECT_SERVER_ANALYTICS_ENABLED=false
export NM_DISABLE_ANALYTICS=1 DVC_NO_ANALYTICS=1 GX_ANALYTICS_ENABLED=false
_seam_servers="${SEAM_SERVERS:-$_seam_root/.servers}"
if [ -f "$_seam_servers/client.sh" ]; then . "$_seam_servers/client.sh"; fi  # of `make servers`
export PREFECT_HOME="${PREFECT_HOME:-$_seam_root/.prefect}"
export PREFECT_API_URL="${PREFECT_API_URL:-http://127.0.0.1:4200/api}"
export MLFLOW_TRACKING_URI="${MLFLOW_TRACKING_URI:-sqlite:///$_seam_root/mlflow/mlflow.db}"
unset _seam_root _seam_servers
