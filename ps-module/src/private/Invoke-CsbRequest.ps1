# Sends one request and returns @{ Value = reply; Failure }.
function Invoke-CsbRequest {
    param($Connection, [System.Collections.IDictionary] $Request)
    $type = $Connection.Type
    $reply = [System.IntPtr]::Zero
    $problem = [System.IntPtr]::Zero
    $status = $type::csb_service_request($Connection.Handle, (ConvertTo-CsbUtf8 $Request), [ref] $reply, [ref] $problem)
    Get-CsbResult $type $status $reply $problem
}
